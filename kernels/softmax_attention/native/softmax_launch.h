// How softmax attention starts on a GPU.
#pragma once

#include "common/native/cuda_op.h"

namespace tfjs_lla {

void LaunchSoftmaxForward(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs,
                          CudaCall& call);

}  // namespace tfjs_lla
