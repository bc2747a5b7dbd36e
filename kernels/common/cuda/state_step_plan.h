// What the host starts for a step of linear and mesa attention.
#pragma once

#include <algorithm>

#include "common/cuda/launch.h"
#include "common/cuda/state_step_params.h"

namespace tfjs_lla {

using StateStepLaunch = KernelLaunch<StateStepParams>;
using StateStepPlan = LaunchPlan<StateStepParams>;

class StateStepPlanner : private LaunchPlanner<StateStepParams> {
 public:
  using LaunchPlanner::LaunchPlanner;

  StateStepPlan Linear() {
    params_.left_columns = 1;
    ForTokens([&] { AddRows(); });
    return plan_;
  }

  // Linear attention with the solutions for queries.
  StateStepPlan Mesa() {
    const int64_t heads = params_.heads;
    const int dim = params_.dim, triangle = TriangleFloats(dim);
    const bool is_shared = dim <= kLargestSharedSystem;
    params_.left_columns = dim;
    params_.feature_map = kIdentityFeatures;
    params_.normalize = 0;
    params_.scale = 1;
    params_.solved = Take(heads * params_.tokens * dim);
    if (!is_shared) params_.triangles = Take(heads * std::min(params_.tokens, kMostStateTokens) * triangle);
    ForTokens([&] {
      Add("mesa_step_solve", heads * params_.rows, kTriangleThreads,
          4 * (dim + kMostStateTokens + (is_shared ? triangle : 0)));
      const float* const query = params_.query;
      params_.query = params_.solved;
      AddRows();
      params_.query = query;
    });
    return plan_;
  }

 private:
  // Calls `rows()` for some tokens at a time, and adds what puts these into the sums.
  template <class Rows>
  void ForTokens(Rows rows) {
    for (params_.first_row = 0; params_.first_row < params_.tokens; params_.first_row += kMostStateTokens) {
      params_.rows = std::min(kMostStateTokens, params_.tokens - params_.first_row);
      rows();
      const int64_t numbers = static_cast<int64_t>(params_.dim) * (params_.left_columns + params_.value_dim);
      Add("state_step_sums", params_.heads * ((numbers + kStateThreads - 1) / kStateThreads), kStateThreads,
          4 * kMostStateTokens);
    }
  }

  void AddRows() {
    Add("state_step_rows", static_cast<int64_t>(params_.heads) * params_.rows, kStateThreads, StateRowBytes(params_.dim));
  }
};

}  // namespace tfjs_lla
