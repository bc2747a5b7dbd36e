#include "mesa_attention/native/mesa_step_launch.h"

#include "common/native/state_step_launch.h"

namespace tfjs_lla {
namespace {

const CudaOperation kStep("MesaAttentionStep",
                          {"tfjs_lla_mesa_step_solve", "tfjs_lla_state_step_rows", "tfjs_lla_state_step_sums"});

}  // namespace

void LaunchMesaStep(const StateStep& step, const MesaOptions& options, float* out, CudaCall& call) {
  StateStepParams params = ParamsOf(step, out);
  params.ridge = options.ridge;
  params.ridge_value = options.ridge_value;
  StartPlan(call, [&](char* scratch) { return StateStepPlanner(params, scratch).Mesa(); });
}

}  // namespace tfjs_lla
