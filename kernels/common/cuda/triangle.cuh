// A symmetric positive definite system, solved by one block for one right-hand side.
#pragma once

#include "common/cuda/device.cuh"
#include "common/cuda/triangle_size.h"

namespace tfjs_lla {

// Where entry (r, c), c <= r, of a lower triangle lies; row `dim` is the right-hand side.
TFJS_LLA_DEVICE int TrianglePlace(int r, int c) { return r * (r + 1) / 2 + c; }

// Solves in place, in shared or global memory, and leaves the solution in `solution` [dim] for all threads;
// `least_pivot(k)` is a lower bound of pivot k. A barrier must have followed the entries.
//
// Right-looking elimination without square roots: a column stays as it is when its turn is over (L_rk d_k), and only the
// columns behind it are written, so one barrier a column is enough. The right-hand side, eliminated as one more row, is the
// forward substitution.
template <class LeastPivot>
TFJS_LLA_DEVICE void SolveTriangle(float* triangle, float* solution, int dim, LeastPivot least_pivot) {
  constexpr int kColumns = 16;
  const int thread = ThreadIndex();
  for (int k = 0; k < dim; k++) {
    const float inverse = 1 / Max(triangle[TrianglePlace(k, k)], least_pivot(k));
    if (thread == 0) solution[k] = inverse;
    for (int r = k + 1 + thread / kColumns; r <= dim; r += kTriangleThreads / kColumns) {
      float* const row = triangle + TrianglePlace(r, 0);
      const float factor = row[k] * inverse;
      const int last = r < dim ? r : dim - 1;
      for (int c = k + 1 + thread % kColumns; c <= last; c += kColumns) row[c] -= factor * triangle[TrianglePlace(c, k)];
    }
    SyncBlock();
  }
  // One warp goes back: a column's entries are far fewer than a barrier's worth.
  float* const right = triangle + TrianglePlace(dim, 0);
  if (thread < kWarpSize) {
    for (int k = dim - 1; k >= 0; k--) {
      const float x = right[k] * solution[k];
      for (int c = thread; c < k; c += kWarpSize) right[c] -= triangle[TrianglePlace(k, c)] * x;
      SyncWarp();
      if (thread == 0) solution[k] = x;
    }
  }
  SyncBlock();
}

}  // namespace tfjs_lla
