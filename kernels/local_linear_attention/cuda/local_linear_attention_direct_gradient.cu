// Kernels of local linear attention for rows that are solved directly: gradient, first by query rows, then by keys.
#include "common/cuda/direct_entry_points.cuh"
#include "common/cuda/direct_gradient_keys.cuh"
#include "common/cuda/direct_gradient_rows.cuh"

namespace tfjs_lla {

TFJS_LLA_DIRECT_ENTRY_POINTS(gradient_rows, DirectGradientRows, DirectShape)
TFJS_LLA_DIRECT_ENTRY_POINTS(gradient_keys, DirectGradientKeys, DirectKeyShape)

}  // namespace tfjs_lla
