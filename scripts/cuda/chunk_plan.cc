// The plans of linear and mesa attention (their linear_plan.h and mesa_plan.h); beside plan.cc.
#include "plan.h"

#include "linear_attention/cuda/linear_plan.h"
#include "mesa_attention/cuda/mesa_plan.h"

namespace {

using namespace tfjs_lla;

ChunkPlan plan;

}  // namespace

extern "C" {

int chunk_field(const char* name, int* bytes) {
  using Params = ChunkCall;
  FIELD(query)
  FIELD(key)
  FIELD(value)
  FIELD(key_mask)
  FIELD(out)
  FIELD(dout)
  FIELD(dquery)
  FIELD(dkey)
  FIELD(dvalue)
  FIELD(heads)
  FIELD(heads_per_batch)
  FIELD(queries)
  FIELD(keys)
  FIELD(dim)
  FIELD(value_dim)
  FIELD(causal)
  FIELD(map)
  FIELD(normalize)
  FIELD(scale)
  FIELD(probe)
  FIELD(probe_out)
  FIELD(ridge)
  FIELD(ridge_value)
  FIELD(dridge)
  return -1;
}

// Of what a kernel takes, which is more than a call.
int chunk_bytes() {
  static_assert(sizeof(ChunkParams) >= sizeof(ChunkCall), "one buffer serves both");
  return sizeof(ChunkParams);
}

// Plans a forward pass or a gradient of linear attention (`is_mesa` 0) or mesa attention.
int chunk_call(const void* params, int is_mesa, int high, int gradient, void* scratch, long long* scratch_bytes) {
  return Keep<ChunkCall>(params, plan, scratch_bytes, [&](const ChunkCall& call) {
    char* const memory = static_cast<char*>(scratch);
    const auto made = [&](auto planner) { return gradient ? planner.Gradient() : planner.Forward(); };
    return is_mesa ? made(MesaPlanner(call, memory)) : made(LinearPlanner(call, high != 0, memory));
  });
}

const char* chunk_launch(int index, int* sizes, void* params) { return LaunchOf(plan, index, sizes, params); }

}  // extern "C"
