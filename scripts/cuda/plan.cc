// The plan of a call (kernels/common/cuda/probe_plan.h) for programs that are not written in C++.
#include <cstring>

#include "common/cuda/probe_plan.h"

namespace {

tfjs_lla::ProbePlan plan;

}  // namespace

extern "C" {

// A ProbeParams to fill, by name of the field; returns the offset and, in `bytes`, the size. -1: no such field.
int params_field(const char* name, int* bytes) {
  using tfjs_lla::ProbeParams;
#define FIELD(field)                                        \
  if (std::strcmp(name, #field) == 0) {                     \
    *bytes = static_cast<int>(sizeof(ProbeParams().field)); \
    return static_cast<int>(offsetof(ProbeParams, field));  \
  }
  FIELD(query)
  FIELD(key)
  FIELD(value)
  FIELD(key_mask)
  FIELD(key_bias)
  FIELD(probe)
  FIELD(ridge)
  FIELD(out)
  FIELD(probe_out)
  FIELD(iterations)
  FIELD(dout)
  FIELD(dquery)
  FIELD(dkey)
  FIELD(dvalue)
  FIELD(dbias)
  FIELD(dprobe)
  FIELD(dridge)
  FIELD(heads)
  FIELD(heads_per_batch)
  FIELD(queries)
  FIELD(keys)
  FIELD(dim)
  FIELD(value_dim)
  FIELD(causal)
  FIELD(scale)
  FIELD(ridge_value)
  FIELD(tolerance)
  FIELD(max_iterations)
  FIELD(direct.use)
  FIELD(large_shared)
#undef FIELD
  return -1;
}

int params_bytes() { return sizeof(tfjs_lla::ProbeParams); }

// Plans a forward pass or a gradient; returns the number of launches, or -1 where there is no kernel for the sizes.
int plan_call(const void* params, int source, int high, int gradient, void* scratch, long long* scratch_bytes) {
  tfjs_lla::ProbeParams call;
  std::memcpy(&call, params, sizeof call);
  try {
    tfjs_lla::ProbePlanner planner(call, static_cast<tfjs_lla::ProbeSource>(source), high != 0,
                                   static_cast<char*>(scratch));
    plan = gradient ? planner.Gradient() : planner.Forward();
  } catch (const std::invalid_argument&) {
    return -1;
  }
  *scratch_bytes = plan.scratch_bytes;
  return static_cast<int>(plan.launches.size());
}

// Launch `index` of the last plan. `sizes`: blocks, threads, bytes of shared memory.
const char* plan_launch(int index, int* sizes, void* params) {
  const tfjs_lla::ProbeLaunch& launch = plan.launches[index];
  sizes[0] = static_cast<int>(launch.blocks);
  sizes[1] = launch.threads;
  sizes[2] = launch.shared_bytes;
  std::memcpy(params, &launch.params, sizeof launch.params);
  return launch.entry.c_str();
}

}  // extern "C"
