// What the steps of linear and mesa attention share that start on a GPU.
#pragma once

#include "common/cuda/state_step_plan.h"
#include "common/native/cuda_plan.h"
#include "common/native/state_options.h"

namespace tfjs_lla {

inline StateStepParams ParamsOf(const StateStep& step, float* out) {
  const Problem& problem = step.problem;
  const Dims& dims = problem.dims;
  StateStepParams params{};
  params.query = problem.query;
  params.key = problem.key;
  params.value = problem.value;
  params.key_mask = reinterpret_cast<const unsigned char*>(problem.key_mask);
  params.left_sum = step.left_sum;
  params.key_value_sum = step.key_value_sum;
  params.count = step.count;
  params.out = out;
  params.heads = Count(dims.heads);
  params.heads_per_batch = Count(dims.heads / dims.batch);
  params.tokens = Count(dims.Tk);
  params.dim = Count(dims.D);
  params.value_dim = Count(dims.Dv);
  Count(dims.D * (dims.D + dims.Dv));
  return params;
}

}  // namespace tfjs_lla
