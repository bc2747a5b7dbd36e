// How plans are given to programs that are not written in C++: parameters are filled by the names of their fields, a plan is
// made and kept, and its launches are asked for one by one.
#pragma once

#include <cstddef>
#include <cstring>
#include <stdexcept>

// In a function of `name` and `bytes`, for a struct `Params`: returns the offset of a field by its name, and its size.
#define FIELD(field)                                   \
  if (std::strcmp(name, #field) == 0) {                \
    *bytes = static_cast<int>(sizeof(Params().field)); \
    return static_cast<int>(offsetof(Params, field));  \
  }

namespace tfjs_lla {

// Launch `index` of a plan. `sizes`: blocks, threads, bytes of shared memory.
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

}  // namespace tfjs_lla
