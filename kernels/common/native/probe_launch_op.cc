#include "common/native/probe_launch.h"

#include "common/cuda/probe_plan.h"

namespace tfjs_lla {
namespace {

// A tolerance that conjugate gradient in float32 just reaches, and iterations enough for it.
constexpr float kFinestTolerance = 1e-7f;
constexpr int64_t kMostIterationsPerDimension = 4;

// The entry points of an operation's kernels, and of those that they come after.
std::vector<std::string> EntryPoints(const std::string& operation, const std::vector<std::string>& kernels) {
  std::vector<std::string> entries;
  for (const char* dim : {"32", "64", "128", "256"}) {
    for (const char* first : {"summarize_range", "summarize_head", "make_tiles"}) {
      entries.push_back(std::string("tfjs_lla_") + first + "_" + dim);
    }
    for (const std::string& kernel : kernels) {
      for (const char* precision : {"high", "fast"}) {
        entries.push_back("tfjs_lla_" + operation + "_" + kernel + "_" + precision + "_" + dim);
      }
    }
  }
  return entries;
}

// Says that an operation and its gradient have CUDA kernels.
struct Operations {
  Operations(const std::string& name, const std::string& kernels)
      : forward(name, EntryPoints(kernels, {"forward"})),
        gradient(name + "Grad", EntryPoints(kernels, {"gradient_rows", "gradient_keys"})) {}

  CudaOperation forward, gradient;
};

const Operations kSoftmax("SoftmaxAttention", "softmax");
const Operations kParallax("ParallaxAttention", "parallax");
const Operations kLocalLinear("LocalLinearAttention", "local_linear");

ProbeSource SourceOf(ProbeKind kind) {
  return kind == ProbeKind::kNone ? kNoProbe : kind == ProbeKind::kGiven ? kGivenProbe : kSolvedProbe;
}

ProbeParams ParamsOf(const Problem& problem, const ProbeOptions& options) {
  const Dims& dims = problem.dims;
  ProbeParams params{};
  params.query = problem.query;
  params.key = problem.key;
  params.value = problem.value;
  params.key_mask = reinterpret_cast<const unsigned char*>(problem.key_mask);
  params.key_bias = problem.key_bias;
  params.probe = options.probe;
  params.ridge = options.ridge;
  params.heads = Count(dims.heads);
  params.heads_per_batch = Count(dims.heads / dims.batch);
  params.queries = Count(dims.Tq);
  params.keys = Count(dims.Tk);
  params.dim = Count(dims.D);
  params.value_dim = Count(dims.Dv);
  params.causal = problem.causal;
  params.scale = options.scale;
  params.ridge_value = options.ridge_value;
  const bool is_direct = options.solver == Solver::kDirect;
  params.tolerance = is_direct ? kFinestTolerance : static_cast<float>(options.tolerance);
  params.max_iterations = Count(is_direct ? kMostIterationsPerDimension * dims.D : options.max_iterations);
  return params;
}

// Asks a plan how much scratch it needs, and starts what it says. `plan_of(planner)` is the plan.
template <typename PlanOf>
void Start(const ProbeParams& params, const ProbeOptions& options, CudaCall& call, PlanOf plan_of) {
  const auto plan = [&](char* scratch) {
    return plan_of(ProbePlanner(params, SourceOf(options.kind), !options.fast, scratch));
  };
  char* const scratch = static_cast<char*>(call.Allocate(plan(nullptr).scratch_bytes));
  for (const ProbeLaunch& launch : plan(scratch).launches) {
    const uint32_t blocks = static_cast<uint32_t>(launch.blocks), threads = static_cast<uint32_t>(launch.threads);
    const uint32_t shared_bytes = static_cast<uint32_t>(launch.shared_bytes);
    call.Launch({launch.entry, {blocks, 1, 1}, {threads, 1, 1}, shared_bytes}, launch.params);
  }
}

}  // namespace

void LaunchProbeForward(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs, CudaCall& call) {
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
