// How linear attention starts on a GPU. The kernels take dimensions to 256.
#pragma once

#include "common/native/cuda_op.h"
#include "linear_attention/native/linear_options.h"

namespace tfjs_lla {

void LaunchLinearForward(const Problem& problem, const LinearOptions& options, float* out, CudaCall& call);
void LaunchLinearGradient(const Problem& problem, const LinearOptions& options, const LinearGradients& gradients,
                          CudaCall& call);

}  // namespace tfjs_lla
