// Gradient of local linear attention, by padded head dimension and precision: first by query rows, then by keys.
#include "common/cuda/gradient_keys.cuh"
#include "common/cuda/gradient_rows.cuh"

namespace tfjs_lla {

#define TFJS_LLA_GRADIENT(precision, high, dim)                                          \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS((GradientRowShape<dim, high, kSolvedProbe>::kThreads), \
                                  (GradientRowShape<dim, high, kSolvedProbe>::kBlocks))  \
      tfjs_lla_local_linear_gradient_rows_##precision##_##dim(const ProbeParams p) {     \
    GradientRows<GradientRowShape<dim, high, kSolvedProbe>>(p).Run();                    \
  }                                                                                      \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS((GradientKeyShape<dim, high, kSolvedProbe>::kThreads), \
                                  (GradientKeyShape<dim, high, kSolvedProbe>::kBlocks))  \
      tfjs_lla_local_linear_gradient_keys_##precision##_##dim(const ProbeParams p) {     \
    GradientKeys<GradientKeyShape<dim, high, kSolvedProbe>>(p).Run();                    \
  }

TFJS_LLA_GRADIENT(high, true, 32)
TFJS_LLA_GRADIENT(high, true, 64)
TFJS_LLA_GRADIENT(high, true, 128)
TFJS_LLA_GRADIENT(high, true, 256)
TFJS_LLA_GRADIENT(fast, false, 32)
TFJS_LLA_GRADIENT(fast, false, 64)
TFJS_LLA_GRADIENT(fast, false, 128)
TFJS_LLA_GRADIENT(fast, false, 256)

#undef TFJS_LLA_GRADIENT

}  // namespace tfjs_lla
