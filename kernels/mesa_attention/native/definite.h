// Symmetric positive definite systems in double: the upper factor R of A = R^T R, whose rows lie together.
#pragma once

#include <math.h>

#include "common/native/chunks.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// The upper triangle of A [n, n] += sum of k_j k_j^T over `count` rows, at most kBlockK; `wide` has room for them in double.
inline void AddGram(double* A, int64_t n, const float* keys, int64_t count, double* wide) {
  for (int64_t i = 0; i < count * n; i++) wide[i] = keys[i];
  for (int64_t a = 0; a < n; a += kPad) {
    MultiplyAdd(A + a * n + a, n, Strided<double>{wide + a, 1, n}, wide + a, n, kPad, n - a, count);
  }
}

// Replaces the upper triangle of A by R. No pivot is below the smallest eigenvalue; only rounding can go below it.
inline void FactorUpper(double* A, int64_t n, double smallest) {
  for (int64_t j = 0; j < n; j++) {
    double* __restrict row = A + j * n;
    const double diagonal = sqrt(Max(row[j], smallest)), inverse = 1 / diagonal;
    row[j] = diagonal;
    for (int64_t i = j + 1; i < n; i++) row[i] *= inverse;
    for (int64_t i = j + 1; i < n; i++) {
      double* __restrict below = A + i * n;
      const double left = row[i];
      for (int64_t k = i; k < n; k++) below[k] -= left * row[k];
    }
  }
}

// Updates R to the factor of A + v v^T (Givens rotations); v is overwritten.
inline void UpdateUpper(double* R, int64_t n, double* __restrict v) {
  for (int64_t k = 0; k < n; k++) {
    if (v[k] == 0) continue;
    double* __restrict row = R + k * n;
    const double diagonal = row[k], radius = sqrt(diagonal * diagonal + v[k] * v[k]);
    const double c = radius / diagonal, s = v[k] / diagonal, inverse = diagonal / radius;
    row[k] = radius;
    for (int64_t i = k + 1; i < n; i++) {
      const double updated = (row[i] + s * v[i]) * inverse;
      v[i] = c * v[i] - s * updated;
      row[i] = updated;
    }
  }
}

// Overwrites b with the solution of R^T R x = b.
inline void SolveUpper(const double* R, int64_t n, double* __restrict b) {
  for (int64_t i = 0; i < n; i++) {
    const double* __restrict row = R + i * n;
    b[i] /= row[i];
    const double y = b[i];
    for (int64_t k = i + 1; k < n; k++) b[k] -= row[k] * y;
  }
  for (int64_t i = n - 1; i >= 0; i--) {
    const double* row = R + i * n;
    b[i] = (b[i] - Dot(row + i + 1, b + i + 1, n - i - 1)) / row[i];
  }
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
