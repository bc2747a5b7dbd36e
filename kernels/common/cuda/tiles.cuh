// Tiles of keys and values in half precision, and the products of a warp's 16 rows with them.
#pragma once

#include "common/cuda/device.cuh"

namespace tfjs_lla {

// Keys of a tile in global memory; kernels of wide heads take it in parts.
constexpr int kTileKeys = 64;
constexpr int kWarpRows = 16;

// A tile is [high, low][kTileKeys][kDim]. The 16-byte chunks of a row are permuted, so that ldmatrix meets no bank
// twice.
template <int kDim>
TFJS_LLA_DEVICE int ChunkOffset(int row, int chunk) {
  const int swizzle = kDim >= 64 ? row & 7 : (row >> 1) & 3;
  return row * kDim * 2 + ((chunk ^ swizzle) << 4);
}

template <int kDim>
constexpr int kTileBytes = 2 * kTileKeys * kDim * 2;

// What half precision has left of a pair: a - high(a).
TFJS_LLA_DEVICE Half2Bits LowPart(Half2Bits high, float a, float b) {
  const float2 rounded = UnpackHalf2(high);
  return PackHalf2(a - rounded.x, b - rounded.y);
}

// The power of two 2^e with 2^e <= x < 2^(e+1), for a normal x.
TFJS_LLA_DEVICE float PowerOfTwoBelow(float x) { return FromBits(Bits(x) & 0x7f800000); }

// A power of two that brings numbers up to `largest` into [2^9, 2^10): their low parts then stay normal in half
// precision down to 2^-13 of the largest, and their products with unit vectors stay finite. That of zeros is tiny: it
// is in the scale that weights of many rows share.
TFJS_LLA_DEVICE float UnitFor(float largest) { return PowerOfTwoBelow(Max(largest, 1e-27f)) * (1.0f / 512); }

TFJS_LLA_DEVICE float SumOverQuad(float x) {
  x += ShuffleXor(x, 1);
  return x + ShuffleXor(x, 2);
}

TFJS_LLA_DEVICE float MaxOverQuad(float x) {
  x = Max(x, ShuffleXor(x, 1));
  return Max(x, ShuffleXor(x, 2));
}

// A warp's 16 rows as the left operand of products, in registers or, in wide heads, in the thread's own part of memory.
template <int kDim, bool kInMemory>
struct RowOperand {
  Half2Bits fragments[kDim / 16][4];

  TFJS_LLA_DEVICE void Place(char*) {}
  TFJS_LLA_DEVICE void Set(int k, const Half2Bits (&a)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) fragments[k][i] = a[i];
  }
  TFJS_LLA_DEVICE void Get(int k, Half2Bits (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = fragments[k][i];
  }
};

template <int kDim>
struct RowOperand<kDim, true> {
  uint4* fragments;

  // `memory` [kDim / 16][threads of the block], 16 bytes each.
  TFJS_LLA_DEVICE void Place(char* memory) { fragments = reinterpret_cast<uint4*>(memory) + ThreadIndex(); }
  TFJS_LLA_DEVICE void Set(int k, const Half2Bits (&a)[4]) {
    uint4 packed;
    packed.x = a[0];
    packed.y = a[1];
    packed.z = a[2];
    packed.w = a[3];
    fragments[k * BlockThreads()] = packed;
  }
  TFJS_LLA_DEVICE void Get(int k, Half2Bits (&a)[4]) const {
    const uint4 packed = fragments[k * BlockThreads()];
    a[0] = packed.x;
    a[1] = packed.y;
    a[2] = packed.z;
    a[3] = packed.w;
  }
};

template <int kDim>
constexpr int kOperandBytesPerThread = kDim / 16 * 16;

// Adds to s [16, kKeys] the products of rows with the keys of a tile: (high + low) (high + low)^T without low low^T.
// `low` is used where kLow, the tile's low half where kHigh.
template <int kDim, int kKeys, bool kHigh, bool kLow, class Operand>
TFJS_LLA_DEVICE void AddKeyProducts(float (&s)[kKeys / 8][4], const Operand& high, const Operand& low, int k, int n,
                                    const Half2Bits (&key_high)[4], const Half2Bits (&key_low)[4]) {
  Half2Bits a[4];
  high.Get(k, a);
  MultiplyAdd(s[n], a, key_high[0], key_high[1]);
  MultiplyAdd(s[n + 1], a, key_high[2], key_high[3]);
  if constexpr (kHigh) {
    MultiplyAdd(s[n], a, key_low[0], key_low[1]);
    MultiplyAdd(s[n + 1], a, key_low[2], key_low[3]);
  }
  if constexpr (kLow) {
    low.Get(k, a);
    MultiplyAdd(s[n], a, key_high[0], key_high[1]);
    MultiplyAdd(s[n + 1], a, key_high[2], key_high[3]);
  }
}

// Loads 16 dimensions (from 16 k) of 16 keys (from 8 n) of a tile half as a right operand that is transposed in memory.
template <int kDim>
TFJS_LLA_DEVICE void LoadKeys(Half2Bits (&b)[4], const char* tile, int k, int n) {
  const int lane = ThreadIndex() % kWarpSize;
  LoadMatrices(b, tile + ChunkOffset<kDim>(n * 8 + (lane & 7) + ((lane >> 4) << 3), 2 * k + ((lane >> 3) & 1)));
}

// Weights of 16 rows for kKeys keys as a left operand.
template <int kKeys>
struct Weights {
  Half2Bits high[kKeys / 16][4];
  Half2Bits low[kKeys / 16][4];

  template <bool kHigh>
  TFJS_LLA_DEVICE void Round(const float (&w)[kKeys / 8][4]) {
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float a = w[2 * k + i / 2][i % 2 * 2], b = w[2 * k + i / 2][i % 2 * 2 + 1];
        high[k][i] = PackHalf2(a, b);
        if constexpr (kHigh) low[k][i] = LowPart(high[k][i], a, b);
      }
    }
  }
};

// sum [16, kDim] += weights [16, kKeys] tile [kKeys, kDim], whose low half lies kLowOffset bytes further on.
template <int kDim, int kKeys, bool kHigh, int kLowOffset>
TFJS_LLA_DEVICE void AddWeightedRows(float (&sum)[kDim / 8][4], const Weights<kKeys>& weights, const char* tile) {
  const int lane = ThreadIndex() % kWarpSize;
#pragma unroll
  for (int k = 0; k < kKeys / 16; k++) {
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      const int offset = ChunkOffset<kDim>(k * 16 + (lane & 15), n + (lane >> 4));
      Half2Bits b[4];
      LoadMatricesTransposed(b, tile + offset);
      MultiplyAdd(sum[n], weights.high[k], b[0], b[1]);
      MultiplyAdd(sum[n + 1], weights.high[k], b[2], b[3]);
      if constexpr (kHigh) {
        MultiplyAdd(sum[n], weights.low[k], b[0], b[1]);
        MultiplyAdd(sum[n + 1], weights.low[k], b[2], b[3]);
        LoadMatricesTransposed(b, tile + kLowOffset + offset);
        MultiplyAdd(sum[n], weights.high[k], b[0], b[1]);
        MultiplyAdd(sum[n + 1], weights.high[k], b[2], b[3]);
      }
    }
  }
}

}  // namespace tfjs_lla
