// Kernels of mesa attention besides those that it shares with linear attention (common/cuda/chunks.cu).
#include "mesa_attention/cuda/mesa_factor.cuh"
#include "mesa_attention/cuda/mesa_rows.cuh"
#include "mesa_attention/cuda/mesa_solve.cuh"

namespace tfjs_lla {

TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, 8) tfjs_lla_mesa_prepare_ridge(const ChunkParams p) {
  PrepareRidge{p}.Run();
}
TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, 8) tfjs_lla_mesa_prepare_rows(const ChunkParams p) {
  PrepareMesaRows{p}.Run();
}
TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, 3) tfjs_lla_mesa_factor(const ChunkParams p) { FactorSystems(p).Run(); }
TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, 3) tfjs_lla_mesa_solve(const ChunkParams p) { SolveSystems(p).Run(); }
TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kChunkThreads, 8) tfjs_lla_mesa_sum_ridge_gradient(const ChunkParams p) {
  SumRidgeGradient{p}.Run();
}

}  // namespace tfjs_lla
