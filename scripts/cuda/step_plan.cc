// The plans of steps and of calls with few queries (kernels/common/cuda/step_plan.h and state_step_plan.h) for programs
// that are not written in C++; beside plan.cc.
#include "plan.h"

#include "common/cuda/state_step_plan.h"
#include "common/cuda/step_plan.h"

namespace {

using namespace tfjs_lla;

StepPlan step_plan;
StateStepPlan state_plan;

}  // namespace

extern "C" {

int step_field(const char* name, int* bytes) {
  using Params = StepParams;
  FIELD(query)
  FIELD(key)
  FIELD(value)
  FIELD(key_mask)
  FIELD(key_bias)
  FIELD(probe)
  FIELD(ridge)
  FIELD(cached_key)
  FIELD(cached_value)
  FIELD(cached_bias)
  FIELD(out)
  FIELD(probe_out)
  FIELD(heads)
  FIELD(heads_per_batch)
  FIELD(queries)
  FIELD(new_keys)
  FIELD(capacity)
  FIELD(dim)
  FIELD(value_dim)
  FIELD(causal)
  FIELD(scale)
  FIELD(ridge_value)
  return -1;
}

int step_bytes() { return sizeof(StepParams); }

// `length` below zero: a call without a cache.
int step_call(const void* params, int source, int length, int total, int window, void* scratch, long long* scratch_bytes) {
  return Keep<StepParams>(params, step_plan, scratch_bytes, [&](StepParams& call) {
    if (length >= 0) PlaceStep(call, length, total, window);
    return StepPlanner(call, static_cast<ProbeSource>(source), static_cast<char*>(scratch)).Plan();
  });
}

const char* step_launch(int index, int* sizes, void* params) { return LaunchOf(step_plan, index, sizes, params); }

int state_field(const char* name, int* bytes) {
  using Params = StateStepParams;
  FIELD(query)
  FIELD(key)
  FIELD(value)
  FIELD(key_mask)
  FIELD(ridge)
  FIELD(left_sum)
  FIELD(key_value_sum)
  FIELD(count)
  FIELD(out)
  FIELD(heads)
  FIELD(heads_per_batch)
  FIELD(tokens)
  FIELD(dim)
  FIELD(value_dim)
  FIELD(feature_map)
  FIELD(normalize)
  FIELD(scale)
  FIELD(ridge_value)
  return -1;
}

int state_bytes() { return sizeof(StateStepParams); }

int state_call(const void* params, int mesa, void* scratch, long long* scratch_bytes) {
  return Keep<StateStepParams>(params, state_plan, scratch_bytes, [&](StateStepParams& call) {
    StateStepPlanner planner(call, static_cast<char*>(scratch));
    return mesa ? planner.Mesa() : planner.Linear();
  });
}

const char* state_launch(int index, int* sizes, void* params) { return LaunchOf(state_plan, index, sizes, params); }

}  // extern "C"
