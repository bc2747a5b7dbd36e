// Kernels of steps of linear and mesa attention, for heads of any size.
#include "common/cuda/state_step.cuh"

namespace tfjs_lla {

TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kStateThreads, 1) tfjs_lla_state_step_rows(const StateStepParams p) { StateRow(p); }
TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kStateThreads, 1) tfjs_lla_state_step_sums(const StateStepParams p) { StateSums(p); }

}  // namespace tfjs_lla
