// Kernels of local linear attention for rows that are solved directly: forward pass, and what `auto` decides by.
#include "common/cuda/direct_entry_points.cuh"
#include "common/cuda/direct_forward.cuh"
#include "common/cuda/direct_rows.cuh"

namespace tfjs_lla {

#define TFJS_LLA_CHOOSE_ROWS(dim)                                                                              \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kPrepareThreads, 4) tfjs_lla_find_variance_##dim(const ProbeParams p) {      \
    FindVariance<dim>(p);                                                                                      \
  }                                                                                                            \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kWarpSize, 1) tfjs_lla_find_smallest_ridge_##dim(const ProbeParams p) {      \
    FindSmallestRidge(p);                                                                                      \
  }

TFJS_LLA_CHOOSE_ROWS(32)
TFJS_LLA_CHOOSE_ROWS(64)
TFJS_LLA_CHOOSE_ROWS(128)
TFJS_LLA_CHOOSE_ROWS(256)

TFJS_LLA_DIRECT_ENTRY_POINTS(forward, DirectForward, DirectShape)

}  // namespace tfjs_lla
