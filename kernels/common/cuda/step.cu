// Kernels of steps and of calls with few queries: ranges of keys by padded dimension, for one row, some or many, with a
// probe and without; what joins them; and what appends to a cache or copies it.
#include "common/cuda/step_attend.cuh"

namespace tfjs_lla {

#define TFJS_LLA_ATTEND(name, dim, rows, sets, probe)                              \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS((AttendShape<dim, rows, sets, probe>::kThreads), \
                                  (AttendShape<dim, rows, sets, probe>::kBlocks))  \
      tfjs_lla_step_##name##_##dim(const StepParams p) {                           \
    StepAttend<AttendShape<dim, rows, sets, probe>>(p).Run();                      \
  }

#define TFJS_LLA_JOIN(name, dim, probe)                                                                        \
  TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kJoinThreads, 1) tfjs_lla_step_##name##_##dim(const StepParams p) {          \
    JoinRanges<dim, probe>(p);                                                                                 \
  }

#define TFJS_LLA_STEP(dim)                                              \
  TFJS_LLA_ATTEND(softmax_row, dim, 1, 1, false)                        \
  TFJS_LLA_ATTEND(softmax_rows, dim, SharedRows(false), 1, false)       \
  TFJS_LLA_ATTEND(softmax_many, dim, SharedRows(false), kManySets, false) \
  TFJS_LLA_ATTEND(probe_row, dim, 1, 1, true)                           \
  TFJS_LLA_ATTEND(probe_rows, dim, SharedRows(true), 1, true)           \
  TFJS_LLA_ATTEND(probe_many, dim, SharedRows(true), kManySets, true)   \
  TFJS_LLA_JOIN(softmax_join, dim, false)                               \
  TFJS_LLA_JOIN(probe_join, dim, true)

TFJS_LLA_STEP(32)
TFJS_LLA_STEP(64)
TFJS_LLA_STEP(128)
TFJS_LLA_STEP(256)

TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kJoinThreads, 1) tfjs_lla_step_append(const StepParams p) { AppendKeys(p); }
TFJS_LLA_KERNEL TFJS_LLA_BOUNDS(kJoinThreads, 1) tfjs_lla_step_gather(const StepParams p) { GatherKeys(p); }

}  // namespace tfjs_lla
