// The plans of linear and mesa attention for programs that are not written in C++, by the names of plan.cc.
#include <cstring>

#include "linear_attention/cuda/linear_plan.h"
#include "mesa_attention/cuda/mesa_plan.h"

namespace {

tfjs_lla::ChunkPlan plan;

}  // namespace

extern "C" {

// A ChunkCall to fill, by name of the field; returns the offset and, in `bytes`, the size. -1: no such field.
int params_field(const char* name, int* bytes) {
  using tfjs_lla::ChunkCall;
#define FIELD(field)                                      \
  if (std::strcmp(name, #field) == 0) {                   \
    *bytes = static_cast<int>(sizeof(ChunkCall().field)); \
    return static_cast<int>(offsetof(ChunkCall, field));  \
  }
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
#undef FIELD
  return -1;
}

// Of what a kernel takes, which is more than a call.
int params_bytes() {
  static_assert(sizeof(tfjs_lla::ChunkParams) >= sizeof(tfjs_lla::ChunkCall), "one buffer serves both");
  return sizeof(tfjs_lla::ChunkParams);
}

// Plans a forward pass or a gradient of linear attention (`is_mesa` 0) or mesa attention; returns the number of
// launches, or -1 where there is no kernel for the sizes.
int plan_call(const void* params, int is_mesa, int high, int gradient, void* scratch, long long* scratch_bytes) {
  tfjs_lla::ChunkCall call;
  std::memcpy(&call, params, sizeof call);
  char* const memory = static_cast<char*>(scratch);
  try {
    if (is_mesa) {
      tfjs_lla::MesaPlanner planner(call, memory);
      plan = gradient ? planner.Gradient() : planner.Forward();
    } else {
      tfjs_lla::LinearPlanner planner(call, high != 0, memory);
      plan = gradient ? planner.Gradient() : planner.Forward();
    }
  } catch (const std::invalid_argument&) {
    return -1;
  }
  *scratch_bytes = plan.scratch_bytes;
  return static_cast<int>(plan.launches.size());
}

// Launch `index` of the last plan. `sizes`: blocks, threads, bytes of shared memory.
const char* plan_launch(int index, int* sizes, void* params) {
  const tfjs_lla::ChunkLaunch& launch = plan.launches[index];
  sizes[0] = static_cast<int>(launch.blocks);
  sizes[1] = launch.threads;
  sizes[2] = launch.shared_bytes;
  std::memcpy(params, &launch.params, sizeof launch.params);
  return launch.entry.c_str();
}

}  // extern "C"
