// The plans of steps and of calls with few queries (kernels/common/cuda/step_plan.h and state_step_plan.h) for programs
// that are not written in C++; beside plan.cc.
#include "common/cuda/step_plan.h"

#include <cstddef>
#include <cstring>

#include "common/cuda/state_step_plan.h"

namespace {

using namespace tfjs_lla;

StepPlan step_plan;
StateStepPlan state_plan;

template <class Plan>
const char* LaunchOf(const Plan& plan, int index, int* sizes, void* params) {
  const auto& launch = plan.launches[index];
  sizes[0] = static_cast<int>(launch.blocks);
  sizes[1] = launch.threads;
  sizes[2] = launch.shared_bytes;
  std::memcpy(params, &launch.params, sizeof launch.params);
  return launch.entry.c_str();
}

// Keeps the plan that `plan_of(params)` makes; returns the number of launches, or -1 where there is no kernel for the sizes.
template <class Params, class Plan, class PlanOf>
int Keep(const void* params, Plan& plan, long long* scratch_bytes, PlanOf plan_of) {
  Params call;
  std::memcpy(&call, params, sizeof call);
  try {
    plan = plan_of(call);
  } catch (const std::invalid_argument&) {
    return -1;
  }
  *scratch_bytes = plan.scratch_bytes;
  return static_cast<int>(plan.launches.size());
}

}  // namespace

// Offset and size of a field by its name, -1: no such field.
#define FIELD(field)                                   \
  if (std::strcmp(name, #field) == 0) {                \
    *bytes = static_cast<int>(sizeof(Params().field)); \
    return static_cast<int>(offsetof(Params, field));  \
  }

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
