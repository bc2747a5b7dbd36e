// Gradient of local linear attention, by padded head dimension and precision: first by query rows, then by keys.
#include "common/cuda/entry_points.cuh"
#include "common/cuda/gradient_keys.cuh"
#include "common/cuda/gradient_rows.cuh"

namespace tfjs_lla {

TFJS_LLA_ENTRY_POINTS(local_linear, gradient_rows, GradientRows, GradientRowShape, kSolvedProbe)
TFJS_LLA_ENTRY_POINTS(local_linear, gradient_keys, GradientKeys, GradientKeyShape, kSolvedProbe)

}  // namespace tfjs_lla
