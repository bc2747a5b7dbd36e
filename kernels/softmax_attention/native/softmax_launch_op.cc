#include "softmax_attention/native/softmax_launch.h"

#include "softmax_attention/native/softmax_params.h"

namespace tfjs_lla {
namespace {

constexpr char kForward[] = "tfjs_lla_softmax_forward";

const CudaOperation kOperation("SoftmaxAttention", {kForward});

// One block of the kernel does so many queries of a head, a warp each.
constexpr int kQueriesPerBlock = 4;

}  // namespace

void LaunchSoftmaxForward(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs,
                          CudaCall& call) {
  const Dims& dims = problem.dims;
  SoftmaxForwardParams params{};
  params.query = problem.query;
  params.key = problem.key;
  params.value = problem.value;
  params.key_mask = reinterpret_cast<const unsigned char*>(problem.key_mask);
  params.key_bias = problem.key_bias;
  params.out = outputs.out;
  params.heads = static_cast<int>(dims.heads);
  params.heads_per_batch = static_cast<int>(dims.heads / dims.batch);
  params.queries = static_cast<int>(dims.Tq);
  params.keys = static_cast<int>(dims.Tk);
  params.dim = static_cast<int>(dims.D);
  params.value_dim = static_cast<int>(dims.Dv);
  params.causal = problem.causal;
  params.fast = options.fast;
  params.scale = options.scale;
  const int64_t blocks = (dims.Tq + kQueriesPerBlock - 1) / kQueriesPerBlock * dims.heads;
  if (blocks > INT32_MAX) throw CudaError("too many queries for one call: " + std::to_string(dims.heads * dims.Tq));
  const CudaLaunch launch{kForward, {static_cast<uint32_t>(blocks), 1, 1}, {32 * kQueriesPerBlock, 1, 1}, 0};
  call.Launch(launch, params);
}

}  // namespace tfjs_lla
