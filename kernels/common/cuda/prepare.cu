// Kernels that every attention kernel of the family comes after, by padded head dimension.
#include "common/cuda/prepare.cuh"

namespace tfjs_lla {

#define TFJS_LLA_PREPARE(dim)                                                                               \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kPrepareThreads, 4) tfjs_lla_summarize_range_##dim(const ProbeParams p) { \
    SummarizeRange<dim>(p);                                                                                 \
  }                                                                                                         \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kPrepareThreads, 4) tfjs_lla_summarize_head_##dim(const ProbeParams p) {  \
    SummarizeHead<dim>(p);                                                                                  \
  }                                                                                                         \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kPrepareThreads, 4) tfjs_lla_make_tiles_##dim(const ProbeParams p) {      \
    MakeTiles<dim>(p);                                                                                      \
  }

TFJS_LLA_PREPARE(32)
TFJS_LLA_PREPARE(64)
TFJS_LLA_PREPARE(128)
TFJS_LLA_PREPARE(256)

}  // namespace tfjs_lla
