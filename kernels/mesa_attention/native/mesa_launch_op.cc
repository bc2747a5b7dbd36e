#include "common/native/chunk_launch.h"
#include "mesa_attention/cuda/mesa_plan.h"
#include "mesa_attention/native/mesa_launch.h"

namespace tfjs_lla {
namespace {

const std::vector<std::string> kEntryPoints =
    ChunkEntryPoints({"tfjs_lla_mesa_prepare_ridge", "tfjs_lla_mesa_prepare_rows", "tfjs_lla_mesa_factor",
                      "tfjs_lla_mesa_solve", "tfjs_lla_mesa_sum_ridge_gradient"});
const CudaOperation kForward("MesaAttention", kEntryPoints);
const CudaOperation kGradient("MesaAttentionGrad", kEntryPoints);

ChunkCall CallOf(const Problem& problem, const MesaOptions& options) {
  ChunkCall call = ChunkCallOf(problem);
  call.ridge = options.ridge;
  call.ridge_value = options.ridge_value;
  return call;
}

}  // namespace

void LaunchMesaForward(const Problem& problem, const MesaOptions& options, const MesaOutputs& outputs, CudaCall& call) {
  ChunkCall chunks = CallOf(problem, options);
  chunks.out = outputs.out;
  chunks.probe_out = outputs.probe;
  StartPlan(call, [&](char* scratch) { return MesaPlanner(chunks, scratch).Forward(); });
}

void LaunchMesaGradient(const Problem& problem, const MesaOptions& options, const MesaGradients& gradients,
                        CudaCall& call) {
  ChunkCall chunks = CallOf(problem, options);
  chunks.probe = gradients.probe;
  chunks.dout = gradients.dout;
  chunks.dquery = gradients.dquery;
  chunks.dkey = gradients.dkey;
  chunks.dvalue = gradients.dvalue;
  chunks.dridge = gradients.dridge;
  StartPlan(call, [&](char* scratch) { return MesaPlanner(chunks, scratch).Gradient(); });
}

}  // namespace tfjs_lla
