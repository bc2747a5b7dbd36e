// Vectors of the processor that this file is compiled for, and the few functions on them that kernels need.
#pragma once

#include <stdint.h>
#include <string.h>

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
};
template <typename T>
using Vector = typename VectorOf<T>::type;

typedef int32_t IntVector __attribute__((vector_size(kVectorBytes)));

template <typename T>
constexpr int kLanes = kVectorBytes / sizeof(T);

// Rows of scratch are padded with zeros to a multiple of this, so that no loop over vectors has a rest.
constexpr int64_t kPad = 16;

inline int64_t Padded(int64_t n) { return (n + kPad - 1) / kPad * kPad; }

template <typename T>
inline T Min(T a, T b) {
  return a < b ? a : b;
}

template <typename T>
inline T Max(T a, T b) {
  return a < b ? b : a;
}

template <typename T>
inline Vector<T> Load(const T* p) {
  return *reinterpret_cast<const Vector<T>*>(p);
}

template <typename T>
inline void Store(T* p, Vector<T> x) {
  *reinterpret_cast<Vector<T>*>(p) = x;
}

template <typename T>
inline Vector<T> Broadcast(T x) {
  return Vector<T>{} + x;
}

inline double Sum(Vector<float> x) {
  double sum = 0;
  for (int lane = 0; lane < kLanes<float>; lane++) sum += x[lane];
  return sum;
}

inline double Sum(Vector<double> x) {
  double sum = 0;
  for (int lane = 0; lane < kLanes<double>; lane++) sum += x[lane];
  return sum;
}

// The larger of two numbers in each lane; neither is NaN.
inline Vector<float> Larger(Vector<float> a, Vector<float> b) { return a > b ? a : b; }

inline float Largest(Vector<float> x) {
  float largest = x[0];
  for (int lane = 1; lane < kLanes<float>; lane++) largest = Max(largest, x[lane]);
  return largest;
}

// exp(x) for x <= 0, to 1.2 units in the last place: 2^n exp(r) with x = n ln 2 + r, exp(r) by a polynomial. What is below
// the smallest normal number becomes 0.
inline Vector<float> ExpOfNegative(Vector<float> x) {
  const Vector<float> lowest = Broadcast(-87.3f);
  const Vector<float> clamped = x > lowest ? x : lowest;
  // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
  const Vector<float> magic = Broadcast(12582912.0f);
  const Vector<float> shifted = clamped * 1.44269504088896341f + magic;
  const Vector<float> n = shifted - magic;
  const Vector<float> r = clamped - n * 0.693359375f - n * -2.12194440e-4f;
  Vector<float> p = Broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const IntVector power = (reinterpret_cast<IntVector>(shifted) - 0x4B400000 + 127) << 23;
  const Vector<float> result = p * reinterpret_cast<Vector<float>>(power);
  return x > lowest ? result : Vector<float>{};
}

// The sum of products of two rows of float, in double: `n` is a multiple of kPad.
inline double Dot(const float* a, const float* b, int64_t n) {
  typedef float Half __attribute__((vector_size(kVectorBytes / 2), aligned(4), may_alias));
  Vector<double> sum{};
  for (int64_t i = 0; i < n; i += kLanes<double>) {
    const Vector<double> x = __builtin_convertvector(*reinterpret_cast<const Half*>(a + i), Vector<double>);
    const Vector<double> y = __builtin_convertvector(*reinterpret_cast<const Half*>(b + i), Vector<double>);
    sum += x * y;
  }
  return Sum(sum);
}

// The same of two rows of double, of any length.
inline double Dot(const double* a, const double* b, int64_t n) {
  Vector<double> sum{};
  int64_t i = 0;
  for (; i + kLanes<double> <= n; i += kLanes<double>) sum += Load(a + i) * Load(b + i);
  double rest = 0;
  for (; i < n; i++) rest += a[i] * b[i];
  return Sum(sum) + rest;
}

template <typename T>
inline void Zero(T* p, int64_t n) {
  memset(p, 0, n * sizeof(T));
}

inline bool IsFinite(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return (bits & 0x7f800000u) != 0x7f800000u;
}

// Copies `n` numbers; returns whether all of them are finite.
inline bool CopyFinite(const float* source, float* target, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, source + i, sizeof(bits));
    bits &= 0x7f800000u;
    largest = largest < bits ? bits : largest;
    target[i] = source[i];
  }
  return largest != 0x7f800000u;
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
