// Kernels of local linear attention's step, and of calls with few queries, by padded head dimension: what comes before
// those that attend (common/cuda/step.cu).
#include "local_linear_attention/cuda/step_statistics.cuh"

namespace tfjs_lla {

#define TFJS_LLA_STEP_SOLVE(dim)                                                                     \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS((StatisticsShape<dim>::kThreads), (StatisticsShape<dim>::kBlocks)) \
      tfjs_lla_local_linear_statistics_##dim(const StepParams p) {                                   \
    StepStatistics<StatisticsShape<dim>>(p).Run();                                                   \
  }                                                                                                  \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kTriangleThreads, 1)                                               \
      tfjs_lla_local_linear_solve_##dim(const StepParams p) {                                        \
    SolveStep<dim>(p);                                                                               \
  }

TFJS_LLA_STEP_SOLVE(32)
TFJS_LLA_STEP_SOLVE(64)
TFJS_LLA_STEP_SOLVE(128)
TFJS_LLA_STEP_SOLVE(256)

}  // namespace tfjs_lla
