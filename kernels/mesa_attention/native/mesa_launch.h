// How mesa attention starts on a GPU. The kernels take dimensions to 256.
#pragma once

#include "common/native/cuda_op.h"
#include "mesa_attention/native/mesa_options.h"

namespace tfjs_lla {

void LaunchMesaForward(const Problem& problem, const MesaOptions& options, const MesaOutputs& outputs, CudaCall& call);
void LaunchMesaGradient(const Problem& problem, const MesaOptions& options, const MesaGradients& gradients,
                        CudaCall& call);

}  // namespace tfjs_lla
