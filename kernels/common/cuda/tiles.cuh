// Tiles of keys and values in half precision, and the products of a warp's 16 rows with them.
#pragma once

#include "common/cuda/device.cuh"
#include "common/cuda/stage_copies.cuh"

namespace tfjs_lla {

// Keys of a tile in global memory; kernels of wide heads take it in parts.
constexpr int kTileKeys = 64;
constexpr int kWarpRows = 16;

// A tile is [high, low][column blocks][kTileKeys][kColumns]: blocks of 64 dimensions, or of all where there are fewer. The
// 16-byte chunks of a row are permuted, so that ldmatrix meets no bank twice; wgmma reads the same pattern.
template <int kDim>
constexpr int kColumns = kDim < 64 ? kDim : 64;
template <int kDim>
constexpr int kRowBytes = kColumns<kDim> * 2;

// Of a chunk in a tile, or in one with fewer rows.
template <int kDim, int kTileRows>
TFJS_LLA_DEVICE int ChunkOffset(int row, int chunk) {
  constexpr int kChunks = kRowBytes<kDim> / 16;
  const int swizzle = kDim >= 64 ? row & 7 : (row >> 1) & 3;
  return (chunk / kChunks * kTileRows + row) * kRowBytes<kDim> + ((chunk % kChunks ^ swizzle) << 4);
}

// Starts to copy kRows rows of a tile half, from `first` on, to a tile half of as many rows in some stage.
template <int kDim, int kRows, class Copies>
TFJS_LLA_DEVICE void CopyTileRows(const Copies& copies, int stage, char* target, const char* half, int first) {
  constexpr int kBlockBytes = kRows * kRowBytes<kDim>;
#pragma unroll
  for (int block = 0; block < kDim / kColumns<kDim>; block++) {
    copies.Copy(stage, target + block * kBlockBytes, half + (block * kTileKeys + first) * kRowBytes<kDim>, kBlockBytes);
  }
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

// A warp's 16 rows as the left operand of products.
template <int kDim, OperandPlace kPlace>
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
  // A use of the registers, where `never` is false and the compiler does not know. The last products that take an operand
  // may still read it when ptxas 12.9 gives its registers to what comes next in their loop; so kernels use it after the loop.
  TFJS_LLA_DEVICE void Keep(bool never, void* anywhere) const {
    if (!kWarpgroup || !never) return;
    Half2Bits mix = 0;
#pragma unroll
    for (int k = 0; k < kDim / 16; k++) mix ^= fragments[k][0] ^ fragments[k][1] ^ fragments[k][2] ^ fragments[k][3];
    *static_cast<Half2Bits*>(anywhere) = mix;
  }
};

template <int kDim>
struct RowOperand<kDim, kInMemory> {
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
  TFJS_LLA_DEVICE void Keep(bool, void*) const {}
};

// Where this thread's part `i` of a left operand's fragment `k` lies in a tile half of 64 rows.
template <int kDim>
TFJS_LLA_DEVICE int FragmentOffset(int k, int i) {
  const int lane = ThreadIndex() % kWarpSize, row = ThreadIndex() / kWarpSize * kWarpRows + lane / 4;
  return ChunkOffset<kDim, kTileKeys>(row + i % 2 * 8, 2 * k + i / 2) + lane % 4 * 4;
}

template <int kDim>
struct RowOperand<kDim, kAsTile> {
  char* tile;

  // `memory` begins where a pattern of chunks does. What is set counts for products after PublishTiles and a barrier.
  TFJS_LLA_DEVICE void Place(char* memory) { tile = memory; }
  TFJS_LLA_DEVICE void Set(int k, const Half2Bits (&a)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) *reinterpret_cast<Half2Bits*>(tile + FragmentOffset<kDim>(k, i)) = a[i];
  }
  TFJS_LLA_DEVICE void Get(int k, Half2Bits (&a)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = *reinterpret_cast<const Half2Bits*>(tile + FragmentOffset<kDim>(k, i));
  }
  TFJS_LLA_DEVICE void Keep(bool, void*) const {}
};

// Writes rows, and their low parts where kHigh, to a tile in global memory.
template <int kDim, bool kHigh, class Operand>
TFJS_LLA_DEVICE void WriteRows(char* tile, const Operand& high, const Operand& low) {
#pragma unroll
  for (int k = 0; k < kDim / 16; k++) {
    Half2Bits a[4];
#pragma unroll
    for (int half = 0; half < (kHigh ? 2 : 1); half++) {
      if (half == 0)
        high.Get(k, a);
      else
        low.Get(k, a);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        *reinterpret_cast<Half2Bits*>(tile + half * (kTileBytes<kDim> / 2) + FragmentOffset<kDim>(k, i)) = a[i];
      }
    }
  }
}

// The same of rows that lie as a tile already, after a barrier of the block: each thread copies 16 bytes at a time.
template <int kDim, bool kHigh>
TFJS_LLA_DEVICE void WriteRows(char* tile, const RowOperand<kDim, kAsTile>& high, const RowOperand<kDim, kAsTile>& low) {
  constexpr int kBytes = kTileBytes<kDim> / 2, kThreads = 128;
#pragma unroll
  for (int half = 0; half < (kHigh ? 2 : 1); half++) {
    const uint4* const from = reinterpret_cast<const uint4*>(half ? low.tile : high.tile) + ThreadIndex();
    uint4* const to = reinterpret_cast<uint4*>(tile + half * kBytes) + ThreadIndex();
#pragma unroll
    for (int i = 0; i < kBytes / 16; i += kThreads) to[i] = from[i];
  }
}

// Adds to s [16, kKeys] the products of rows with the keys of a tile: (high + low) (high + low)^T without low low^T.
// `low` is used where kLow, the tile's low half where kHigh.
template <int kDim, int kKeys, bool kHigh, bool kLow, class High, class Low>
TFJS_LLA_DEVICE void AddKeyProducts(float (&s)[kKeys / 8][4], const High& high, const Low& low, int k, int n,
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
template <int kDim, int kTileRows>
TFJS_LLA_DEVICE void LoadKeys(Half2Bits (&b)[4], const char* tile, int k, int n) {
  const int lane = ThreadIndex() % kWarpSize;
  LoadMatrices(b, tile + ChunkOffset<kDim, kTileRows>(n * 8 + (lane & 7) + ((lane >> 4) << 3), 2 * k + ((lane >> 3) & 1)));
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

  // Where the products that take them are finished: until then they stay in their registers.
  template <bool kHigh>
  TFJS_LLA_DEVICE void Release() {
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++) {
      KeepRegisters(high[k]);
      if constexpr (kHigh) KeepRegisters(low[k]);
    }
  }
};

// A tile that begins `bytes` further on: the upper word does not change.
TFJS_LLA_DEVICE unsigned long long TileAfter(unsigned long long tile, int bytes) {
  return (tile & ~0xffffffffull) | (static_cast<unsigned>(tile) + static_cast<unsigned>(bytes / 16));
}

// Starts s [16, kKeys] = rows times the keys of a tile half of kTileRows rows, or adds to s: by a warpgroup.
template <int kDim, int kKeys, int kTileRows, OperandPlace kPlace>
TFJS_LLA_DEVICE void StartRowProducts(float (&s)[kKeys / 8][4], const RowOperand<kDim, kPlace>& rows, const char* tile,
                                      bool keep) {
  const unsigned long long from = DescribeTile<kRowBytes<kDim>>(tile);
  constexpr int kSteps = kColumns<kDim> / 16;
  // Bytes from a step of 16 dimensions to the next, within and between blocks of columns.
  const auto offset = [](int k, int tile_rows) { return k / kSteps * tile_rows * kRowBytes<kDim> + k % kSteps * 32; };
#pragma unroll
  for (int k = 0; k < kDim / 16; k++) {
    const unsigned long long keys = TileAfter(from, offset(k, kTileRows));
    if constexpr (kPlace == kAsTile) {
      MultiplyTiles(s, TileAfter(DescribeTile<kRowBytes<kDim>>(rows.tile), offset(k, kTileKeys)), keys, keep || k > 0);
    } else {
      Half2Bits a[4];
      rows.Get(k, a);
      MultiplyAddTile<false>(s, a, keys, keep || k > 0);
    }
  }
}

// Starts s = rows times keys, or adds to s, with the low parts of rows where kLow, of the tile where kHigh.
template <int kDim, int kKeys, int kTileRows, bool kHigh, bool kLow, class High, class Low>
TFJS_LLA_DEVICE void StartKeyProducts(float (&s)[kKeys / 8][4], const High& high, const Low& low, const char* tile,
                                      bool keep) {
  constexpr int kLowOffset = kTileRows * kDim * 2;
  StartRowProducts<kDim, kKeys, kTileRows>(s, high, tile, keep);
  if constexpr (kHigh) StartRowProducts<kDim, kKeys, kTileRows>(s, high, tile + kLowOffset, true);
  if constexpr (kLow) StartRowProducts<kDim, kKeys, kTileRows>(s, low, tile, true);
}

template <int kKeys>
TFJS_LLA_DEVICE void ClearScores(float (&s)[kKeys / 8][4]) {
#pragma unroll
  for (int n = 0; n < kKeys / 8; n++) {
#pragma unroll
    for (int e = 0; e < 4; e++) s[n][e] = 0;
  }
}

// s = rows times keys and, where kSecond, t that of other rows. A warpgroup leaves them unfinished, as a group each.
template <int kDim, int kKeys, int kTileRows, bool kHigh, bool kSecond, bool kSecondLow, class First, class FirstLow, class Second,
          class SecondLow>
TFJS_LLA_DEVICE void KeyProducts(float (&s)[kKeys / 8][4], float (&t)[kKeys / 8][4], const First& first,
                                 const FirstLow& first_low, const Second& second, const SecondLow& second_low,
                                 const char* tile) {
  constexpr int kLowOffset = kTileRows * kDim * 2;
  if constexpr (kByWarpgroup<kDim>) {
    StartProducts();
    StartKeyProducts<kDim, kKeys, kTileRows, kHigh, kHigh>(s, first, first_low, tile, false);
    CommitProducts();
    if constexpr (kSecond) {
      StartProducts();
      StartKeyProducts<kDim, kKeys, kTileRows, kHigh, kSecondLow>(t, second, second_low, tile, false);
      CommitProducts();
    }
  } else {
    ClearScores<kKeys>(s);
    if constexpr (kSecond) ClearScores<kKeys>(t);
#pragma unroll
    for (int k = 0; k < kDim / 16; k++) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        Half2Bits high[4], low[4];
        LoadKeys<kDim, kTileRows>(high, tile, k, n);
        if constexpr (kHigh) LoadKeys<kDim, kTileRows>(low, tile + kLowOffset, k, n);
        AddKeyProducts<kDim, kKeys, kHigh, kHigh>(s, first, first_low, k, n, high, low);
        if constexpr (kSecond) AddKeyProducts<kDim, kKeys, kHigh, kSecondLow>(t, second, second_low, k, n, high, low);
      }
    }
  }
}

// s = rows times the keys of a tile and other rows times those of another one, added up. A warpgroup leaves it unfinished, as
// one group of products.
template <int kDim, int kKeys, int kTileRows, bool kHigh, class High, class Low>
TFJS_LLA_DEVICE void KeyProductSums(float (&s)[kKeys / 8][4], const High& first, const Low& first_low, const char* first_tile,
                                    const High& second, const Low& second_low, const char* second_tile) {
  if constexpr (kByWarpgroup<kDim>) {
    StartProducts();
    StartKeyProducts<kDim, kKeys, kTileRows, kHigh, kHigh>(s, first, first_low, first_tile, false);
    StartKeyProducts<kDim, kKeys, kTileRows, kHigh, kHigh>(s, second, second_low, second_tile, true);
    CommitProducts();
  } else {
    constexpr int kLowOffset = kTileRows * kDim * 2;
    ClearScores<kKeys>(s);
#pragma unroll
    for (int k = 0; k < kDim / 16; k++) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        Half2Bits high[4], low[4];
        LoadKeys<kDim, kTileRows>(high, first_tile, k, n);
        if constexpr (kHigh) LoadKeys<kDim, kTileRows>(low, first_tile + kLowOffset, k, n);
        AddKeyProducts<kDim, kKeys, kHigh, kHigh>(s, first, first_low, k, n, high, low);
        LoadKeys<kDim, kTileRows>(high, second_tile, k, n);
        if constexpr (kHigh) LoadKeys<kDim, kTileRows>(low, second_tile + kLowOffset, k, n);
        AddKeyProducts<kDim, kKeys, kHigh, kHigh>(s, second, second_low, k, n, high, low);
      }
    }
  }
}

// Starts sum [16, kDim] += weights [16, kKeys] times the first kKeys rows of a tile half: by a warpgroup.
template <int kDim, int kKeys, int kTileRows>
TFJS_LLA_DEVICE void StartWeightedRows(float (&sum)[kDim / 8][4], const Half2Bits (&weights)[kKeys / 16][4],
                                       const char* tile) {
  constexpr int kBlocks = kColumns<kDim> / 8;
  const unsigned long long from = DescribeTile<kRowBytes<kDim>>(tile);
#pragma unroll
  for (int k = 0; k < kKeys / 16; k++) {
#pragma unroll
    for (int block = 0; block < kDim / kColumns<kDim>; block++) {
      auto& columns = *reinterpret_cast<float(*)[kBlocks][4]>(&sum[block * kBlocks]);
      MultiplyAddTile<true>(columns, weights[k], TileAfter(from, (block * kTileRows + 16 * k) * kRowBytes<kDim>), true);
    }
  }
}

// sum [16, kDim] += weights [16, kKeys] tile [kKeys, kDim], high and low parts of both where kHigh. A warpgroup leaves it
// unfinished, as a group of products.
template <int kDim, int kKeys, int kTileRows, bool kHigh>
TFJS_LLA_DEVICE void AddWeightedRows(float (&sum)[kDim / 8][4], const Weights<kKeys>& weights, const char* tile) {
  constexpr int kLowOffset = kTileRows * kDim * 2;
  if constexpr (kByWarpgroup<kDim>) {
    StartProducts();
    StartWeightedRows<kDim, kKeys, kTileRows>(sum, weights.high, tile);
    if constexpr (kHigh) {
      StartWeightedRows<kDim, kKeys, kTileRows>(sum, weights.low, tile);
      StartWeightedRows<kDim, kKeys, kTileRows>(sum, weights.high, tile + kLowOffset);
    }
    CommitProducts();
  } else {
    const int lane = ThreadIndex() % kWarpSize;
#pragma unroll
    for (int k = 0; k < kKeys / 16; k++) {
#pragma unroll
      for (int n = 0; n < kDim / 8; n += 2) {
        const int offset = ChunkOffset<kDim, kTileRows>(k * 16 + (lane & 15), n + (lane >> 4));
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
}

}  // namespace tfjs_lla
