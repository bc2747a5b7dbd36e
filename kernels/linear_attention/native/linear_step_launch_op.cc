#include "linear_attention/native/linear_step_launch.h"

#include "common/native/state_step_launch.h"

namespace tfjs_lla {
namespace {

const CudaOperation kStep("LinearAttentionStep", {"tfjs_lla_state_step_rows", "tfjs_lla_state_step_sums"});

}  // namespace

void LaunchLinearStep(const StateStep& step, const LinearOptions& options, float* out, CudaCall& call) {
  StateStepParams params = ParamsOf(step, out);
  params.feature_map = options.feature_map == FeatureMap::kRelu       ? kReluFeatures
                       : options.feature_map == FeatureMap::kIdentity ? kIdentityFeatures
                                                                      : kEluPlusOneFeatures;
  params.normalize = options.normalize;
  params.scale = options.scale;
  StartPlan(call, [&](char* scratch) { return StateStepPlanner(params, scratch).Linear(); });
}

}  // namespace tfjs_lla
