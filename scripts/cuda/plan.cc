// The plan of a call of the family (kernels/common/cuda/probe_plan.h).
#include "plan.h"

#include "common/cuda/probe_plan.h"

namespace {

using namespace tfjs_lla;

ProbePlan plan;

}  // namespace

extern "C" {

// Offset and, in `bytes`, size of a field by its name; -1: no such field.
int params_field(const char* name, int* bytes) {
  using Params = ProbeParams;
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
  return -1;
}

int params_bytes() { return sizeof(ProbeParams); }

// Plans a forward pass or a gradient.
int plan_call(const void* params, int source, int high, int gradient, void* scratch, long long* scratch_bytes) {
  return Keep<ProbeParams>(params, plan, scratch_bytes, [&](const ProbeParams& call) {
    ProbePlanner planner(call, static_cast<ProbeSource>(source), high != 0, static_cast<char*>(scratch));
    return gradient ? planner.Gradient() : planner.Forward();
  });
}

const char* plan_launch(int index, int* sizes, void* params) { return LaunchOf(plan, index, sizes, params); }

}  // extern "C"
