// Kernels of local linear attention for rows that are solved directly: forward pass, and what `auto` decides by.
#include "common/cuda/direct_entry_points.cuh"
#include "common/cuda/direct_forward.cuh"
#include "common/cuda/direct_rows.cuh"

namespace tfjs_lla {

#define TFJS_LLA_FIND_VARIANCE(dim)                                                                       \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kPrepareThreads, 4) tfjs_lla_find_variance_##dim(const ProbeParams p) { \
    FindVariance<dim>(p);                                                                                 \
  }

TFJS_LLA_FIND_VARIANCE(32)
TFJS_LLA_FIND_VARIANCE(64)
TFJS_LLA_FIND_VARIANCE(128)
TFJS_LLA_FIND_VARIANCE(256)

TFJS_LLA_DIRECT_ENTRY_POINTS(forward, DirectForward, DirectShape)

}  // namespace tfjs_lla
