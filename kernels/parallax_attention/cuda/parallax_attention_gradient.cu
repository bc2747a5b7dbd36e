// Gradient of Parallax attention, by padded head dimension and precision: first by query rows, then by keys.
#include "common/cuda/entry_points.cuh"
#include "common/cuda/gradient_keys.cuh"
#include "common/cuda/gradient_rows.cuh"

namespace tfjs_lla {

TFJS_LLA_ENTRY_POINTS(parallax, gradient_rows, GradientRows, GradientRowShape, kGivenProbe)
TFJS_LLA_ENTRY_POINTS(parallax, gradient_keys, GradientKeys, GradientKeyShape, kGivenProbe)

}  // namespace tfjs_lla
