#include "common/native/chunk_launch.h"
#include "linear_attention/cuda/linear_plan.h"
#include "linear_attention/native/linear_launch.h"

namespace tfjs_lla {
namespace {

const CudaOperation kForward("LinearAttention", ChunkEntryPoints());
const CudaOperation kGradient("LinearAttentionGrad", ChunkEntryPoints());

ChunkCall CallOf(const Problem& problem, const LinearOptions& options) {
  ChunkCall call = ChunkCallOf(problem);
  call.map = options.feature_map == FeatureMap::kRelu       ? kFeatureRelu
             : options.feature_map == FeatureMap::kIdentity ? kFeatureIdentity
                                                            : kFeatureEluPlusOne;
  call.normalize = options.normalize;
  call.scale = options.scale;
  return call;
}

}  // namespace

void LaunchLinearForward(const Problem& problem, const LinearOptions& options, float* out, CudaCall& call) {
  ChunkCall chunks = CallOf(problem, options);
  chunks.out = out;
  StartPlan(call, [&](char* scratch) { return LinearPlanner(chunks, !options.fast, scratch).Forward(); });
}

void LaunchLinearGradient(const Problem& problem, const LinearOptions& options, const LinearGradients& gradients,
                          CudaCall& call) {
  ChunkCall chunks = CallOf(problem, options);
  chunks.dout = gradients.dout;
  chunks.dquery = gradients.dquery;
  chunks.dkey = gradients.dkey;
  chunks.dvalue = gradients.dvalue;
  StartPlan(call, [&](char* scratch) { return LinearPlanner(chunks, !options.fast, scratch).Gradient(); });
}

}  // namespace tfjs_lla
