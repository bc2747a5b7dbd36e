#include "common/native/step_launch.h"

#include "common/cuda/step_plan.h"
#include "common/native/cuda_plan.h"
#include "common/native/probe_launch.h"

namespace tfjs_lla {
namespace {

StepParams ParamsOf(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs) {
  StepParams params = ProbeInputs<StepParams>(problem, options);
  params.new_keys = Count(problem.dims.Tk);
  params.out = outputs.out;
  params.probe_out = outputs.probe;
  return params;
}

// Starts the plan that `plan_of(planner)` makes, and returns it.
template <typename PlanOf>
StepPlan Start(const StepParams& params, ProbeKind kind, CudaCall& call, PlanOf plan_of) {
  return StartPlan(call, [&](char* scratch) {
    StepPlanner planner(params, SourceOf(kind), scratch);
    return plan_of(planner);
  });
}

// A step of many tokens as one causal call, over a copy of the cached ones and the new ones where there are cached ones.
void LaunchWhole(const CacheStep& step, const StepParams& params, const ProbeOptions& options, float* out, CudaCall& call) {
  Problem whole = step.problem;
  const Dims& dims = whole.dims;
  if (step.length > 0) {
    const StepPlan copy = Start(params, options.kind, call, [](StepPlanner& planner) { return planner.Gather(); });
    const StepParams& copied = copy.launches[0].params;
    const bool has_bias = step.cached_bias != nullptr || whole.key_mask != nullptr || whole.key_bias != nullptr;
    whole.dims.Tk += step.length;
    whole.key = copied.whole_key;
    whole.value = copied.whole_value;
    whole.key_mask = nullptr;
    whole.key_bias = has_bias ? copied.whole_bias : nullptr;
  }
  float* probe = nullptr;
  if (options.kind == ProbeKind::kSolved) {
    probe = static_cast<float*>(call.Allocate(dims.heads * dims.Tq * dims.D * static_cast<int64_t>(sizeof(float))));
  }
  LaunchProbeForward(whole, options, {out, probe}, call);
  Start(params, options.kind, call, [](StepPlanner& planner) { return planner.Append(); });
}

}  // namespace

std::vector<std::string> StepEntryPoints(ProbeKind kind) {
  std::vector<std::string> kernels;
  const auto add_pass = [&](const std::string& prefix) {
    for (const char* kernel : {"row_", "rows_", "many_", "join_"}) kernels.push_back(prefix + kernel);
  };
  add_pass(kind == ProbeKind::kNone ? "step_softmax_" : "step_probe_");
  if (kind == ProbeKind::kSolved) {
    add_pass("step_softmax_");
    for (const char* kernel : {"local_linear_statistics_", "local_linear_solve_"}) kernels.push_back(kernel);
  }
  std::vector<std::string> entries = {"tfjs_lla_step_append", "tfjs_lla_step_gather"};
  for (const std::string& kernel : kernels) {
    for (const char* dim : {"32", "64", "128", "256"}) entries.push_back("tfjs_lla_" + kernel + dim);
  }
  return entries;
}

void LaunchProbeStep(const CacheStep& step, const ProbeOptions& options, float* out, CudaCall& call) {
  const int64_t t = step.problem.dims.Tk;
  StepParams params = ParamsOf(step.problem, options, {out, nullptr});
  params.cached_key = step.cached_key;
  params.cached_value = step.cached_value;
  params.cached_bias = step.cached_bias;
  params.capacity = Count(step.capacity);
  Count(step.length + t);
  PlaceStep(params, step.length, step.total, step.window);
  const bool sees_all = step.window == 0 || step.length + t <= step.window;
  if (sees_all && t >= kManyTokens && step.length <= kMostCopied * t) {
    LaunchWhole(step, params, options, out, call);
  } else {
    Start(params, options.kind, call, [](StepPlanner& planner) { return planner.Plan(); });
  }
}

bool HasFewQueries(const Problem& problem, const ProbeOptions& options) {
  if (options.kind == ProbeKind::kSolved && options.solver == Solver::kConjugateGradient) return false;
  const Dims& dims = problem.dims;
  return DividesKeys(SourceOf(options.kind), dims.heads, dims.Tq, dims.Tk);
}

void LaunchFewQueries(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs, CudaCall& call) {
  Start(ParamsOf(problem, options, outputs), options.kind, call, [](StepPlanner& planner) { return planner.Plan(); });
}

}  // namespace tfjs_lla
