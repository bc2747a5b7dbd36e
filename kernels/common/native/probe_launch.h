// How softmax, Parallax and local linear attention start on a GPU.
#pragma once

#include "common/native/probe_op.h"

namespace tfjs_lla {

// The kernels take dimensions to 256.
void LaunchProbeForward(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs, CudaCall& call);
void LaunchProbeGradient(const Problem& problem, const ProbeOptions& options, const ProbeGradients& gradients,
                         CudaCall& call);

}  // namespace tfjs_lla

// The kernels for the GPU of the operations of an operator whose probe is of that kind; there is none for steps.
#define TFJS_LLA_REGISTER_PROBE_CUDA_KERNELS(op, kind)                                    \
  REGISTER_KERNEL_BUILDER(Name(op).Device(tensorflow::DEVICE_GPU),                        \
                          tfjs_lla::ProbeForwardOp<kind, tfjs_lla::LaunchProbeForward>);  \
  REGISTER_KERNEL_BUILDER(Name(op "Grad").Device(tensorflow::DEVICE_GPU),                 \
                          tfjs_lla::ProbeGradientOp<kind, tfjs_lla::LaunchProbeGradient>); \
  TFJS_LLA_REFUSE_GPU(op "Step")
