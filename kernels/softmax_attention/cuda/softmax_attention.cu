// Kernels of softmax attention: forward pass, by padded head dimension and precision.
#include "common/cuda/probe_forward.cuh"

namespace tfjs_lla {

#define TFJS_LLA_FORWARD(precision, high, dim)                                   \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS((ForwardShape<dim, high, kNoProbe>::kThreads), \
                                  (ForwardShape<dim, high, kNoProbe>::kBlocks))  \
      tfjs_lla_softmax_forward_##precision##_##dim(const ProbeParams p) {        \
    ProbeForward<ForwardShape<dim, high, kNoProbe>>(p).Run();                    \
  }

TFJS_LLA_FORWARD(high, true, 32)
TFJS_LLA_FORWARD(high, true, 64)
TFJS_LLA_FORWARD(high, true, 128)
TFJS_LLA_FORWARD(high, true, 256)
TFJS_LLA_FORWARD(fast, false, 32)
TFJS_LLA_FORWARD(fast, false, 64)
TFJS_LLA_FORWARD(fast, false, 128)
TFJS_LLA_FORWARD(fast, false, 256)

#undef TFJS_LLA_FORWARD

}  // namespace tfjs_lla
