#include "common/native/probe_launch.h"

#include "common/cuda/probe_plan.h"
#include "common/native/cuda_plan.h"
#include "common/native/step_launch.h"

namespace tfjs_lla {
namespace {

// The entry points of an operation's kernels, of those that they come after, and of those for rows that are solved directly.
std::vector<std::string> EntryPoints(const std::string& operation, const std::vector<std::string>& kernels) {
  std::vector<std::string> entries;
  for (const char* dim : {"32", "64", "128", "256"}) {
    for (const char* first : {"summarize_range", "summarize_head", "make_tiles"}) {
      entries.push_back(std::string("tfjs_lla_") + first + "_" + dim);
    }
    const bool has_direct = operation == "local_linear";
    if (has_direct) {
      for (const char* first : {"find_variance", "find_smallest_ridge"}) {
        entries.push_back(std::string("tfjs_lla_") + first + "_" + dim);
      }
    }
    for (const std::string& kernel : kernels) {
      if (has_direct) entries.push_back("tfjs_lla_" + operation + "_direct_" + kernel + "_" + dim);
      for (const char* precision : {"high", "fast"}) {
        entries.push_back("tfjs_lla_" + operation + "_" + kernel + "_" + precision + "_" + dim);
      }
    }
  }
  return entries;
}

// Those of the forward pass and of the step: either may start what the other consists of.
std::vector<std::string> ForwardEntryPoints(const std::string& operation, ProbeKind kind) {
  std::vector<std::string> entries = EntryPoints(operation, {"forward"});
  const std::vector<std::string> of_steps = StepEntryPoints(kind);
  entries.insert(entries.end(), of_steps.begin(), of_steps.end());
  return entries;
}

// Says that an operation, its gradient and its step have CUDA kernels.
struct Operations {
  Operations(const std::string& name, const std::string& kernels, ProbeKind kind)
      : forward(name, ForwardEntryPoints(kernels, kind)),
        gradient(name + "Grad", EntryPoints(kernels, {"gradient_rows", "gradient_keys"})),
        step(name + "Step", ForwardEntryPoints(kernels, kind)) {}

  CudaOperation forward, gradient, step;
};

const Operations kSoftmax("SoftmaxAttention", "softmax", ProbeKind::kNone);
const Operations kParallax("ParallaxAttention", "parallax", ProbeKind::kGiven);
const Operations kLocalLinear("LocalLinearAttention", "local_linear", ProbeKind::kSolved);

ProbeParams ParamsOf(const Problem& problem, const ProbeOptions& options) {
  ProbeParams params = ProbeInputs<ProbeParams>(problem, options);
  params.keys = Count(problem.dims.Tk);
  params.tolerance = static_cast<float>(options.tolerance);
  params.max_iterations = Count(options.max_iterations);
  static const bool has_large_shared = HasLargeShared(FindCudaDevice().major);
  params.large_shared = has_large_shared;
  params.direct.use = options.solver == Solver::kDirect ? kAllDirect
                      : options.solver == Solver::kAuto ? kMissedDirect
                                                        : kNeverDirect;
  return params;
}

// Starts what `plan_of(planner)` says.
template <typename PlanOf>
void Start(const ProbeParams& params, const ProbeOptions& options, CudaCall& call, PlanOf plan_of) {
  StartPlan(call, [&](char* scratch) {
    return plan_of(ProbePlanner(params, SourceOf(options.kind), !options.fast, scratch));
  });
}

}  // namespace

void LaunchProbeForward(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs, CudaCall& call) {
  if (HasFewQueries(problem, options)) return LaunchFewQueries(problem, options, outputs, call);
  ProbeParams params = ParamsOf(problem, options);
  params.out = outputs.out;
  params.probe_out = outputs.probe;
  Start(params, options, call, [](ProbePlanner planner) { return planner.Forward(); });
}

void LaunchProbeGradient(const Problem& problem, const ProbeOptions& options, const ProbeGradients& gradients,
                         CudaCall& call) {
  ProbeParams params = ParamsOf(problem, options);
  params.dout = gradients.dout;
  params.dquery = gradients.dquery;
  params.dkey = gradients.dkey;
  params.dvalue = gradients.dvalue;
  params.dbias = gradients.dbias;
  params.dprobe = gradients.dprobe;
  params.dridge = gradients.dridge;
  Start(params, options, call, [](ProbePlanner planner) { return planner.Gradient(); });
}

}  // namespace tfjs_lla
