// How a step of mesa attention starts on a GPU.
#pragma once

#include "common/native/cuda_op.h"
#include "mesa_attention/native/mesa_options.h"

namespace tfjs_lla {

void LaunchMesaStep(const StateStep& step, const MesaOptions& options, float* out, CudaCall& call);

}  // namespace tfjs_lla
