// The one product that all kernels are made of.
#pragma once

#include "common/native/vector.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// A matrix to read numbers from one by one: element (i, k) lies at data[i * row + k * column]. Transposing is exchanging.
template <typename T>
struct Strided {
  const T* data;
  int64_t row;
  int64_t column;
};

// Rows of a tile of C that are held in registers, and vectors per row: with kTileRows * kTileVectors accumulators,
// kTileVectors of B and one broadcast number of A they fill 19 of AVX-512's 32 registers, 11 of the 16 of AVX2 and SSE.
#if defined(__AVX512F__)
constexpr int kTileRows = 8;
#else
constexpr int kTileRows = 4;
#endif
constexpr int kTileVectors = 2;

// C[kRows, kVectors] += A B (or = A B) for one tile in registers.
template <bool kAccumulate, int kRows, int kVectors, typename T>
inline void MultiplyTile(T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t depth) {
  Vector<T> sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) {
      sum[r][v] = kAccumulate ? Load(c + r * ldc + v * kLanes<T>) : Vector<T>{};
    }
  }
  const T* left = a.data;
  for (int64_t k = 0; k < depth; k++) {
    Vector<T> row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) row[v] = Load(b + v * kLanes<T>);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) {
      const Vector<T> x = Broadcast(left[r * a.row]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v++) sum[r][v] += x * row[v];
    }
    left += a.column;
    b += ldb;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; r++) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v++) Store(c + r * ldc + v * kLanes<T>, sum[r][v]);
  }
}

// Rows first .. of C, fewer than kTileRows: picks the tile of that height.
template <bool kAccumulate, int kRows, int kVectors, typename T>
inline void MultiplyRest(int64_t rows, T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t depth) {
  if constexpr (kRows > 0) {
    if (rows == kRows) {
      MultiplyTile<kAccumulate, kRows, kVectors>(c, ldc, a, b, ldb, depth);
    } else {
      MultiplyRest<kAccumulate, kRows - 1, kVectors>(rows, c, ldc, a, b, ldb, depth);
    }
  }
}

// All rows of C, in columns of kVectors vectors.
template <bool kAccumulate, int kVectors, typename T>
inline void MultiplyColumns(T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t m, int64_t depth) {
  int64_t i = 0;
  for (; i + kTileRows <= m; i += kTileRows) {
    const Strided<T> rows{a.data + i * a.row, a.row, a.column};
    MultiplyTile<kAccumulate, kTileRows, kVectors>(c + i * ldc, ldc, rows, b, ldb, depth);
  }
  const Strided<T> rows{a.data + i * a.row, a.row, a.column};
  MultiplyRest<kAccumulate, kTileRows - 1, kVectors>(m - i, c + i * ldc, ldc, rows, b, ldb, depth);
}

template <bool kAccumulate, typename T>
inline void MultiplyAny(T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t m, int64_t n, int64_t depth) {
  constexpr int64_t wide = kTileVectors * kLanes<T>;
  int64_t j = 0;
  for (; j + wide <= n; j += wide) {
    MultiplyColumns<kAccumulate, kTileVectors>(c + j, ldc, a, b + j, ldb, m, depth);
  }
  for (; j < n; j += kLanes<T>) MultiplyColumns<kAccumulate, 1>(c + j, ldc, a, b + j, ldb, m, depth);
}

// C += A B for A [m, depth], rows of B [depth, n] and C [m, n]; `n` is a multiple of kPad. Sums run over `depth` in one
// precision: keep it short.
template <typename T>
inline void MultiplyAdd(T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t m, int64_t n, int64_t depth) {
  MultiplyAny<true>(c, ldc, a, b, ldb, m, n, depth);
}

// C = A B.
template <typename T>
inline void Multiply(T* c, int64_t ldc, Strided<T> a, const T* b, int64_t ldb, int64_t m, int64_t n, int64_t depth) {
  MultiplyAny<false>(c, ldc, a, b, ldb, m, n, depth);
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
