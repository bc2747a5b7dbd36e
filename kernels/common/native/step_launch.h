// How steps of softmax, Parallax and local linear attention start on a GPU, and their calls with few queries.
#pragma once

#include "common/native/cuda_op.h"
#include "common/native/step_options.h"

namespace tfjs_lla {

// The entry points of the kernels that these start themselves.
std::vector<std::string> StepEntryPoints(ProbeKind kind);

// Attends, then writes the new tokens into the cache. Heads to 256. Systems are solved directly, whatever the solver.
void LaunchProbeStep(const CacheStep& step, const ProbeOptions& options, float* out, CudaCall& call);

// Whether a call is one for the next function: with few queries, and none that asks for conjugate gradient.
bool HasFewQueries(const Problem& problem, const ProbeOptions& options);

void LaunchFewQueries(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs, CudaCall& call);

}  // namespace tfjs_lla
