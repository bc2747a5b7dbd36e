// How softmax, Parallax and local linear attention start on a GPU.
#pragma once

#include "common/native/probe_op.h"

namespace tfjs_lla {

// The kernels take dimensions to 256. Every system is solved by conjugate gradient: where the direct solver was asked for, until
// float32 has no more digits.
void LaunchProbeForward(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs, CudaCall& call);

}  // namespace tfjs_lla

// The kernels for the GPU that an operator whose probe is of that kind has.
#define TFJS_LLA_REGISTER_PROBE_CUDA_KERNELS(op, kind)             \
  REGISTER_KERNEL_BUILDER(Name(op).Device(tensorflow::DEVICE_GPU), \
                          tfjs_lla::ProbeForwardOp<kind, tfjs_lla::LaunchProbeForward>)
