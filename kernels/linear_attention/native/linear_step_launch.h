// How a step of linear attention starts on a GPU.
#pragma once

#include "common/native/cuda_op.h"
#include "linear_attention/native/linear_options.h"

namespace tfjs_lla {

void LaunchLinearStep(const StateStep& step, const LinearOptions& options, float* out, CudaCall& call);

}  // namespace tfjs_lla
