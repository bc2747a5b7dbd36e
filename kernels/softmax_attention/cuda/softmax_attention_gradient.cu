// Gradient of softmax attention, by padded head dimension and precision: first by query rows, then by keys.
#include "common/cuda/entry_points.cuh"
#include "common/cuda/gradient_keys.cuh"
#include "common/cuda/gradient_rows.cuh"

namespace tfjs_lla {

TFJS_LLA_ENTRY_POINTS(softmax, gradient_rows, GradientRows, GradientRowShape, kNoProbe)
TFJS_LLA_ENTRY_POINTS(softmax, gradient_keys, GradientKeys, GradientKeyShape, kNoProbe)

}  // namespace tfjs_lla
