// Rows of float of any length, where they stand, with rows of double.
#pragma once

#include "common/native/vector.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

inline Vector<double> LoadAsDouble(const float* p) {
  typedef float Half __attribute__((vector_size(kVectorBytes / 2), aligned(4), may_alias));
  return __builtin_convertvector(*reinterpret_cast<const Half*>(p), Vector<double>);
}

// sum_i a_i x_i
inline double DotMixed(const float* a, const double* x, int64_t n) {
  Vector<double> sum{};
  int64_t i = 0;
  for (; i + kLanes<double> <= n; i += kLanes<double>) sum += LoadAsDouble(a + i) * Load(x + i);
  double rest = 0;
  for (; i < n; i++) rest += a[i] * x[i];
  return Sum(sum) + rest;
}

// target += weight a
inline void AddMixed(double* target, double weight, const float* a, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes<double> <= n; i += kLanes<double>) Store(target + i, Load(target + i) + weight * LoadAsDouble(a + i));
  for (; i < n; i++) target[i] += weight * a[i];
}

inline void AddScaled(double* target, double weight, const double* a, int64_t n) {
  for (int64_t i = 0; i < n; i++) target[i] += weight * a[i];
}

// Copies a row; returns whether all of it is finite.
inline bool CopyWide(const float* source, double* target, int64_t n) {
  bool finite = true;
  for (int64_t i = 0; i < n; i++) {
    finite &= IsFinite(source[i]);
    target[i] = source[i];
  }
  return finite;
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
