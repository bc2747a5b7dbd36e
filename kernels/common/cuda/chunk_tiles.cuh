// Tiles of 64 x 64 float32 numbers in shared memory, and their products on tensor cores: a block of four warps, each
// with a quarter of the result. Split operands, high + low with 11 significant bits each, give what float32 gives.
#pragma once

#include "common/cuda/chunk_params.h"
#include "common/cuda/tiles.cuh"

namespace tfjs_lla {

constexpr int kChunkThreads = 128;
constexpr int kChunkTileFloats = kChunkTile * kChunkTile;
constexpr int kChunkTileBytes = kChunkTileFloats * 4;

// Where an element is. Columns are permuted within their row, four at a time, so that neither 8 rows of 4 columns nor 4
// rows of 8 columns meet a bank twice.
TFJS_LLA_DEVICE int TileOffset(int row, int column) {
  return row * kChunkTile + (column ^ (((row & 3) << 3) | (row & 4)));
}

// A warp's quarter of a product: lane 4 g + c has in [m][n][e] row 16 m + 8 (e / 2) + g, column 8 n + 2 c + e % 2.
using Quarter = float[2][4][4];

struct QuarterPlace {
  int row, column;  // of the quarter
  int g, c;

  TFJS_LLA_DEVICE QuarterPlace() {
    const int warp = ThreadIndex() / kWarpSize, lane = ThreadIndex() % kWarpSize;
    row = warp / 2 * 32;
    column = warp % 2 * 32;
    g = lane / 4;
    c = lane % 4;
  }
  TFJS_LLA_DEVICE int Row(int m, int half) const { return row + 16 * m + 8 * half + g; }
  TFJS_LLA_DEVICE int Column(int n) const { return column + 8 * n + 2 * c; }
};

// Calls body(number, row, column) for each of this thread's numbers, with its place in the tile.
// Numbers: a Quarter, or a constant one.
template <class Numbers, class Body>
TFJS_LLA_DEVICE void ForEachNumber(Numbers& quarter, Body body) {
  const QuarterPlace at;
#pragma unroll
  for (int m = 0; m < 2; m++) {
#pragma unroll
    for (int n = 0; n < 4; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) body(quarter[m][n][e], at.Row(m, e / 2), at.Column(n) + e % 2);
    }
  }
}

TFJS_LLA_DEVICE void ClearQuarter(Quarter& sum) {
#pragma unroll
  for (int m = 0; m < 2; m++) {
#pragma unroll
    for (int n = 0; n < 4; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) sum[m][n][e] = 0;
    }
  }
}

// Replaces numbers by what tensor cores take of them, and gives what is left.
template <bool kHigh, int kCount>
TFJS_LLA_DEVICE void SplitNumbers(float (&x)[kCount], float (&low)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; i++) {
    const float all = x[i];
    // Rounded, not cut: tensor cores would drop a bit of what is left, and all errors would have one sign.
    x[i] = RoundToTensorFloat(all);
    low[i] = kHigh ? RoundToTensorFloat(all - x[i]) : 0.0f;
  }
}

// sum += left right for tiles left [row, depth] (turned: [depth, row]) and right [depth, column] (turned: [column,
// depth]).
template <bool kHigh, bool kLeftTurned, bool kRightTurned>
TFJS_LLA_DEVICE void AddTileProduct(Quarter& sum, const float* left, const float* right) {
  const QuarterPlace at;
#pragma unroll 2
  for (int k = 0; k < kChunkTile; k += 8) {
    float a[2][4], a_low[2][4];
#pragma unroll
    for (int m = 0; m < 2; m++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = at.Row(m, i % 2), depth = k + i / 2 * 4 + at.c;
        a[m][i] = left[kLeftTurned ? TileOffset(depth, row) : TileOffset(row, depth)];
      }
      SplitNumbers<kHigh>(a[m], a_low[m]);
    }
#pragma unroll
    for (int n = 0; n < 4; n++) {
      const int column = at.column + 8 * n + at.g;
      float b[2], b_low[2];
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int depth = k + i * 4 + at.c;
        b[i] = right[kRightTurned ? TileOffset(column, depth) : TileOffset(depth, column)];
      }
      SplitNumbers<kHigh>(b, b_low);
#pragma unroll
      for (int m = 0; m < 2; m++) {
        if constexpr (kHigh) {
          MultiplyAddTensorFloat(sum[m][n], a_low[m], b[0], b[1]);
          MultiplyAddTensorFloat(sum[m][n], a[m], b_low[0], b_low[1]);
        }
        MultiplyAddTensorFloat(sum[m][n], a[m], b[0], b[1]);
      }
    }
  }
}

// Starts to copy 64 rows of 64 numbers, `stride` numbers from row to row in global memory.
TFJS_LLA_DEVICE void CopyTile(float* tile, const float* source, int stride) {
#pragma unroll
  for (int i = 0; i < kChunkTileFloats / 4 / kChunkThreads; i++) {
    const int index = i * kChunkThreads + ThreadIndex(), row = index / (kChunkTile / 4),
              column = index % (kChunkTile / 4) * 4;
    CopyAsync(tile + TileOffset(row, column), source + static_cast<long long>(row) * stride + column);
  }
}

// The feature map, and its derivative read off the feature.
TFJS_LLA_DEVICE float FeatureOf(int map, float x) {
  if (map == kFeatureIdentity || x > 0) return map == kFeatureEluPlusOne ? x + 1 : x;
  // elu(x) + 1 would lose exp(x) of a very negative x.
  return map == kFeatureRelu ? 0.0f : Exp2(x * 1.4426950408889634f);
}

TFJS_LLA_DEVICE float FeatureDerivative(int map, float feature) {
  if (map == kFeatureIdentity) return 1;
  if (map == kFeatureRelu) return feature > 0 ? 1.0f : 0.0f;
  return feature < 1 ? feature : 1.0f;
}

TFJS_LLA_DEVICE float SumOverWarp(float x) {
#pragma unroll
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) x += ShuffleXor(x, lanes);
  return x;
}

TFJS_LLA_DEVICE int MaxOverWarp(int x) {
#pragma unroll
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) {
    const int other = Bits(ShuffleXor(FromBits(x), lanes));
    x = other > x ? other : x;
  }
  return x;
}

TFJS_LLA_DEVICE int MinOverWarp(int x) { return -MaxOverWarp(-x); }

TFJS_LLA_DEVICE int PaddedRows(int rows) { return (rows + kChunkTile - 1) / kChunkTile * kChunkTile; }

// The number of keys before the causal bound of a query.
TFJS_LLA_DEVICE int KeysBefore(const ChunkParams& p, int query) {
  if (!p.causal) return p.keys;
  const int bound = p.keys - p.queries + query + 1;
  return bound < 0 ? 0 : bound < p.keys ? bound : p.keys;
}

}  // namespace tfjs_lla
