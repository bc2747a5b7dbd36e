// How softmax, Parallax and local linear attention start on a GPU.
#pragma once

#include "common/cuda/probe_params.h"
#include "common/native/cuda_op.h"
#include "common/native/step_launch.h"
#include "common/native/step_op.h"

namespace tfjs_lla {

// What the kernels call it.
inline ProbeSource SourceOf(ProbeKind kind) {
  return kind == ProbeKind::kNone ? kNoProbe : kind == ProbeKind::kGiven ? kGivenProbe : kSolvedProbe;
}

// Inputs and sizes of a call, as all kernels of the family take them; keys are counted by each for itself.
template <typename Params>
Params ProbeInputs(const Problem& problem, const ProbeOptions& options) {
  const Dims& dims = problem.dims;
  Params params{};
  params.query = problem.query;
  params.key = problem.key;
  params.value = problem.value;
  params.key_mask = reinterpret_cast<const unsigned char*>(problem.key_mask);
  params.key_bias = problem.key_bias;
  params.probe = options.probe;
  params.ridge = options.ridge;
  params.heads = Count(dims.heads);
  params.heads_per_batch = Count(dims.heads / dims.batch);
  params.queries = Count(dims.Tq);
  params.dim = Count(dims.D);
  params.value_dim = Count(dims.Dv);
  params.causal = problem.causal;
  params.scale = options.scale;
  params.ridge_value = options.ridge_value;
  return params;
}

// The kernels take dimensions to 256.
void LaunchProbeForward(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs, CudaCall& call);
void LaunchProbeGradient(const Problem& problem, const ProbeOptions& options, const ProbeGradients& gradients,
                         CudaCall& call);

}  // namespace tfjs_lla

// The kernels for the GPU of the three operations of an operator whose probe is of that kind.
#define TFJS_LLA_REGISTER_PROBE_CUDA_KERNELS(op, kind)                                    \
  REGISTER_KERNEL_BUILDER(Name(op).Device(tensorflow::DEVICE_GPU),                        \
                          tfjs_lla::ProbeForwardOp<kind, tfjs_lla::LaunchProbeForward>);  \
  REGISTER_KERNEL_BUILDER(Name(op "Grad").Device(tensorflow::DEVICE_GPU),                 \
                          tfjs_lla::ProbeGradientOp<kind, tfjs_lla::LaunchProbeGradient>); \
  REGISTER_KERNEL_BUILDER(Name(op "Step").Device(tensorflow::DEVICE_GPU).HostMemory("place"), \
                          tfjs_lla::ProbeStepOp<kind, tfjs_lla::LaunchProbeStep>)
