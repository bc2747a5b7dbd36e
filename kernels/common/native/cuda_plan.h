// Starts the plan of a call (cuda/launch.h) on the GPU.
#pragma once

#include "common/native/cuda_op.h"

namespace tfjs_lla {

// Asks a plan how much scratch memory it needs, and starts what it says. `plan_of(scratch)` is the plan, which is returned.
template <typename PlanOf>
auto StartPlan(CudaCall& call, PlanOf plan_of) {
  auto plan = plan_of(static_cast<char*>(call.Allocate(plan_of(nullptr).scratch_bytes)));
  for (const auto& launch : plan.launches) {
    const uint32_t blocks = static_cast<uint32_t>(launch.blocks), threads = static_cast<uint32_t>(launch.threads);
    const uint32_t shared_bytes = static_cast<uint32_t>(launch.shared_bytes);
    call.Launch({launch.entry, {blocks, 1, 1}, {threads, 1, 1}, shared_bytes}, launch.params);
  }
  return plan;
}

}  // namespace tfjs_lla
