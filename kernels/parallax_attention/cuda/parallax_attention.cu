// Kernels of Parallax attention: forward pass, by padded head dimension and precision.
#include "common/cuda/entry_points.cuh"
#include "common/cuda/probe_forward.cuh"

namespace tfjs_lla {

TFJS_LLA_ENTRY_POINTS(parallax, forward, ProbeForward, ForwardShape, kGivenProbe)

}  // namespace tfjs_lla
