// What one block of a kernel that goes by query rows knows: its rows, their scores, and the stream of keys and values.
#pragma once

#include "common/cuda/forward_shape.h"
#include "common/cuda/prepare.cuh"

namespace tfjs_lla {

// Weights are rounded in units of 2^-8: small ones keep their low parts.
constexpr float kWeightShift = 8;

// Some keys of the ring that a warp works on at a time.
struct KeyPart {
  int first_key;
  const char* keys;    // [keys of the part, kDim]: high parts; low ones kLowOffset bytes further on
  const char* values;  // the same of the slot after it
  const float* bias;   // [keys of the part]
};

// Shape: a ForwardShape, or one with its constants.
template <class Shape>
struct QueryRows {
  static constexpr int kDim = Shape::kDim, kKeys = Shape::kKeys, kSlots = Shape::kSlots, kMostStages = Shape::kMostStages;
  static constexpr bool kHigh = Shape::kHigh;
  using Query = RowOperand<kDim, Shape::kQueryPlace>;
  using Operand = RowOperand<kDim, Shape::kOperandPlace>;
  // Of a row with the keys of a part.
  template <int kPartKeys>
  using Scores = float[kPartKeys / 8][4];
  using Sums = float[kDim / 8][4];

  const ProbeParams& p;
  int head, tile;  // of 64 query rows
  int row[2];      // of this thread
  bool exists[2];
  bool ordinary[2];  // sees keys, and all numbers are finite
  bool bad[2];
  int bound[2];   // keys before it may be seen
  int steps;      // key parts that some row of the block sees
  int warp_end;   // keys before it are seen by some row of the warp, or of the warpgroup that multiplies as one
  int warp_full;  // keys before it are seen by every row of the warp
  bool biased;
  float row_unit[2];  // a power of two: the query operand holds scale * log2(e) * query / row_unit
  HeadSummary summary;
  char* shared;
  Query query, query_low;
  mutable StageCopies<Shape::kCopiesByBlock, Shape::kThreads> copies;
  float unit[2];  // of the products of query and key tile: to base-2 exponents

  TFJS_LLA_DEVICE static int Column(int n, int e) { return n * 8 + ThreadIndex() % 4 * 2 + e % 2; }

  TFJS_LLA_DEVICE QueryRows(const ProbeParams& params) : p(params) {
    shared = SharedMemory();
    copies.Place(shared + Shape::kBarrierOffset, kMostStages);
    const long long block = BlockIndex();
    head = static_cast<int>(block % p.heads);
    tile = TileOf(static_cast<int>(block / p.heads));
    summary = p.summary[head];
    biased = !summary.all_visible;
    const int warp = ThreadIndex() / kWarpSize, lane = ThreadIndex() % kWarpSize;
    const int warp_row = tile * Shape::kRows + warp * kWarpRows;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      row[r] = warp_row + lane / 4 + r * 8;
      exists[r] = row[r] < p.queries;
      bound[r] = Bound(row[r]);
    }
    const int block_end = Bound(tile * Shape::kRows + Shape::kRows - 1);
    warp_full = Bound(warp_row);
    warp_end = kByWarpgroup<kDim> ? block_end : Bound(warp_row + kWarpRows - 1);
    steps = (block_end + kKeys - 1) / kKeys;
  }

  // Rows that take the most time come first, so that no multiprocessor has them left at the end: those that see few keys, which take
  // many iterations, then the longest ones of a causal call.
  TFJS_LLA_DEVICE int TileOf(int index) const {
    const int few = p.split_tiles - p.first_tile;
    return p.first_tile + (index < few ? index : p.tiles - 1 - index + (few > 0 ? few : 0));
  }

  TFJS_LLA_DEVICE int Bound(int of_row) const {
    if (!p.causal) return p.keys;
    const int end = p.keys - p.queries + of_row + 1;
    return end < 0 ? 0 : end < p.keys ? end : p.keys;
  }

  // Where operands lie that are not in registers: queries and what is multiplied with them first.
  TFJS_LLA_DEVICE char* OperandMemory() const {
    return Shape::kOperandsInShared ? shared + Shape::kOperandOffset : ScratchOperands();
  }

  TFJS_LLA_DEVICE char* ScratchOperands() const { return p.operands + BlockIndex() * Shape::kScratchOperandBytes; }

  TFJS_LLA_DEVICE long long RowIndex(int r) const { return static_cast<long long>(head) * p.queries + row[r]; }

  // Whether a matrix lies so that two numbers of a row can be read or written at a time.
  TFJS_LLA_DEVICE static bool InPairs(const float* matrix, int width) {
    return (reinterpret_cast<unsigned long long>(matrix) & 7) == 0 && width % 2 == 0;
  }

  // Numbers of this thread in a matrix [heads, queries, width]; zeros beyond its rows and columns.
  TFJS_LLA_DEVICE void LoadRows(const float* matrix, int width, Sums& x) const {
    // Short code: a block goes through it once. Numbers lie at fixed distances from the thread's first one.
    const bool pairs = InPairs(matrix, width);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float* const from = matrix + RowIndex(r) * width + Column(0, 0);
      const int end = exists[r] ? width - Column(0, 0) : 0;
      if (pairs) {
#pragma unroll
        for (int n = 0; n < kDim / 8; n++) {
          float2 numbers = {0, 0};
          if (8 * n < end) numbers = *reinterpret_cast<const float2*>(from + 8 * n);
          x[n][2 * r] = numbers.x;
          x[n][2 * r + 1] = numbers.y;
        }
      } else {
#pragma unroll
        for (int n = 0; n < kDim / 8; n++) {
          x[n][2 * r] = 8 * n < end ? from[8 * n] : 0.0f;
          x[n][2 * r + 1] = 8 * n + 1 < end ? from[8 * n + 1] : 0.0f;
        }
      }
    }
  }

  // Marks rows of numbers that are not finite: they become zeros.
  TFJS_LLA_DEVICE void RequireFinite(Sums& x) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      // Zero times a number that is not finite is not a number.
      float zero = 0;
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) zero += x[n][2 * r] * 0.0f + x[n][2 * r + 1] * 0.0f;
      if (SumOverQuad(zero) == 0) continue;
      if (ordinary[r]) bad[r] = true;
      ordinary[r] = false;
    }
  }

  // Zeros in rows that are not ordinary.
  TFJS_LLA_DEVICE void ClearRows(Sums& x) const {
    if (ordinary[0] && ordinary[1]) return;
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        if (!ordinary[e / 2]) x[n][e] = 0;
      }
    }
  }

  // Rounds rows times 1 / unit[r] to an operand and, where `split`, its low part. Leaves what was rounded in `x`.
  template <bool kSplit, class Rows16>
  TFJS_LLA_DEVICE static void Round(Sums& x, const float (&factor)[2], Rows16& high, Rows16& low) {
#pragma unroll
    for (int k = 0; k < kDim / 16; k++) {
      Half2Bits a[4], b[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        float* at = &x[2 * k + i / 2][i % 2 * 2];
        const float first = at[0] * factor[i % 2], second = at[1] * factor[i % 2];
        a[i] = PackHalf2(first, second);
        float2 rounded = UnpackHalf2(a[i]);
        if constexpr (kSplit) {
          b[i] = LowPart(a[i], first, second);
          const float2 rest = UnpackHalf2(b[i]);
          rounded.x += rest.x;
          rounded.y += rest.y;
        }
        at[0] = rounded.x;
        at[1] = rounded.y;
      }
      high.Set(k, a);
      if constexpr (kSplit) low.Set(k, b);
    }
  }

  // The power of two that the numbers of each row are rounded in.
  TFJS_LLA_DEVICE static void RowUnits(const Sums& x, float (&units)[2]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float most = 0;
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) {
        most = Max(most, Max(Abs(x[n][2 * r]), Abs(x[n][2 * r + 1])));
      }
      units[r] = UnitFor(MaxOverQuad(most));
    }
  }

  // Loads the queries as an operand, and finds out which rows are ordinary.
  TFJS_LLA_DEVICE void LoadQueries(char* memory) {
    query.Place(memory);
    query_low.Place(memory + Shape::kOperandBytes);
    Sums x;
    LoadRows(p.query, p.dim, x);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const bool sees = exists[r] && summary.first_visible < bound[r];
      bad[r] = sees && summary.first_bad < bound[r];
      ordinary[r] = sees && !bad[r];
    }
    RequireFinite(x);
    ClearRows(x);
    float factor[2];
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) x[n][e] *= p.scale * kLog2E;
    }
    RowUnits(x, row_unit);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      factor[r] = 1.0f / row_unit[r];
      unit[r] = row_unit[r] * summary.key_unit;
    }
    Round<kHigh>(x, factor, query, query_low);
  }

  // Starts to copy part `step` of the head's keys, or of a slice of its values, to a slot of a stage.
  TFJS_LLA_DEVICE void CopyPart(const char* tiles, int step, int stage, int slot) const {
    constexpr int kParts = kTileKeys / kKeys;
    const char* source = tiles + static_cast<long long>(step / kParts) * kTileBytes<kDim>;
    char* target = shared + slot * Shape::kSlotBytes;
#pragma unroll
    for (int half = 0; half < (kHigh ? 2 : 1); half++) {
      CopyTileRows<kDim, kKeys>(copies, stage, target + half * Shape::kLowOffset, source + half * (kTileBytes<kDim> / 2),
                                step % kParts * kKeys);
    }
  }

  TFJS_LLA_DEVICE void CopyKeys(int step, int stage, int slot) const {
    const long long first_tile = static_cast<long long>(head) * p.key_tiles_per_head;
    CopyPart(p.key_tiles + first_tile * kTileBytes<kDim>, step, stage, slot);
    if (biased) copies.Copy(stage, shared + Shape::kBiasOffset + stage * kKeys * 4, p.bias + first_tile * kTileKeys + step * kKeys, kKeys * 4);
  }

  TFJS_LLA_DEVICE void CopyValues(int slice, int step, int stage, int slot) const {
    const long long first_tile = (static_cast<long long>(head) * p.value_slices + slice) * p.key_tiles_per_head;
    CopyPart(p.value_tiles + first_tile * kTileBytes<kDim>, step, stage, slot);
  }

  // Calls copy(step, stage, slot), which starts the copies of one step, ahead of body(part) for every part of kPartKeys keys of
  // that step that the warp sees. A stage has kSlotsPerStep slots from `slot` on.
  template <int kSlotsPerStep, int kPartKeys, class Copy, class Body>
  TFJS_LLA_DEVICE void ForEachStep(Copy copy, Body body) const {
    constexpr int kFitting = kSlots / kSlotsPerStep, kStages = kFitting < kMostStages ? kFitting : kMostStages, kAhead = kStages - 1;
    const auto start = [&](int step) {
      const int stage = step % kStages;
      if (step < steps) copy(step, stage, stage * kSlotsPerStep);
      copies.Close(stage, step < steps);
    };
    // What was made of rows is there for products, and nobody reads slots any more.
    PublishTiles();
    SyncBlock();
#pragma unroll
    for (int i = 0; i < kAhead; i++) start(i);
    for (int step = 0; step < steps; step++) {
      const int stage = step % kStages;
      copies.template Wait<kAhead - 1>(stage);
      if constexpr (!Shape::kCopiesByBlock) PublishTiles();
      // Others' copies have arrived, too, and nobody reads the slots of the step before any more.
      SyncBlock();
      start(step + kAhead);
      const int slot = stage * kSlotsPerStep;
#pragma unroll
      for (int first = 0; first < kKeys; first += kPartKeys) {
        if (step * kKeys + first >= warp_end) continue;
        const char* keys = shared + slot * Shape::kSlotBytes + first * kRowBytes<kDim>;
        const float* bias = reinterpret_cast<const float*>(shared + Shape::kBiasOffset) + stage * kKeys + first;
        body(KeyPart{step * kKeys + first, keys, keys + Shape::kSlotBytes, bias});
      }
    }
    if constexpr (!Shape::kCopiesByBlock) WaitForCopies<0>();
  }

  // Products of the queries with some keys, and of a second operand where it is there; in a warpgroup a group each.
  template <bool kSecond, bool kSecondLow, bool kPrecise = kHigh, int kCount, class Rows16>
  TFJS_LLA_DEVICE void KeyProducts(const KeyPart& part, float (&s)[kCount][4], float (&t)[kCount][4], const Rows16& second,
                                   const Rows16& second_low) const {
    tfjs_lla::KeyProducts<kDim, 8 * kCount, kKeys, kPrecise, kSecond, kSecondLow && kPrecise>(s, t, query, query_low, second,
                                                                                       second_low, part.keys);
  }

  // Products of rows with some keys or values, whose high parts are at `tile`; in a warpgroup one group.
  template <int kCount, class High, class Low>
  TFJS_LLA_DEVICE static void Products(const char* tile, float (&s)[kCount][4], const High& high, const Low& low) {
    tfjs_lla::KeyProducts<kDim, 8 * kCount, kKeys, kHigh, false, false>(s, s, high, low, high, low, tile);
  }

  // sum += s times the keys or values at `tile`, with low parts where kPrecise.
  template <bool kPrecise = kHigh, int kCount>
  TFJS_LLA_DEVICE static void AddWeighted(Sums& sum, const float (&s)[kCount][4], const char* tile) {
    Weights<8 * kCount> weights;
    weights.template Round<kPrecise>(s);
    AddWeightedRows<kDim, 8 * kCount, kKeys, kPrecise>(sum, weights, tile);
    FinishProducts<0>(sum);
    weights.template Release<kPrecise>();
  }

  template <class Rows16>
  TFJS_LLA_DEVICE void Keep(const Rows16& operand) const { operand.Keep(p.heads < 0, p.centre); }

  // Adds the bias, hides what a row does not see. Returns the unit that `s` then has to base-2 exponents.
  template <int kCount>
  TFJS_LLA_DEVICE void MaskScores(const KeyPart& part, float (&s)[kCount][4], float (&to_exponent)[2]) const {
    to_exponent[0] = unit[0];
    to_exponent[1] = unit[1];
    if (biased) {
#pragma unroll
      for (int n = 0; n < kCount; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) s[n][e] = s[n][e] * unit[e / 2] + part.bias[Column(n, e)];
      }
      to_exponent[0] = to_exponent[1] = 1;
    }
    if (part.first_key + 8 * kCount > warp_full) {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int seen = bound[r] - part.first_key - Column(0, 0);
#pragma unroll
        for (int n = 0; n < kCount; n++) {
          if (8 * n >= seen) s[n][2 * r] = kHiddenScore;
          if (8 * n + 1 >= seen) s[n][2 * r + 1] = kHiddenScore;
        }
      }
    }
  }

  // Turns products into weights relative to `top`, the largest exponent of each row.
  template <int kCount>
  TFJS_LLA_DEVICE void WeighScores(const KeyPart& part, float (&s)[kCount][4], const float (&top)[2]) const {
    float to_exponent[2];
    MaskScores(part, s, to_exponent);
#pragma unroll
    for (int n = 0; n < kCount; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) s[n][e] = Exp2(s[n][e] * to_exponent[e / 2] - top[e / 2]);
    }
  }

  // Writes rows of sums times `factor` to columns from `first`, an even one, of a matrix [heads, queries, width].
  TFJS_LLA_DEVICE void StoreRows(const Sums& x, const float (&factor)[2], float* matrix, int width, int first) const {
    const bool pairs = InPairs(matrix, width);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      if (!exists[r]) continue;
      float* const to = matrix + RowIndex(r) * width + first + Column(0, 0);
      const int end = width - first - Column(0, 0);
      const float otherwise = bad[r] ? FromBits(0x7fc00000) : 0.0f;
      const auto number = [&](int n, int e) { return ordinary[r] ? x[n][2 * r + e] * factor[r] : otherwise; };
      if (pairs) {
#pragma unroll
        for (int n = 0; n < kDim / 8; n++) {
          float2 numbers;
          numbers.x = number(n, 0);
          numbers.y = number(n, 1);
          if (8 * n < end) *reinterpret_cast<float2*>(to + 8 * n) = numbers;
        }
      } else {
#pragma unroll
        for (int n = 0; n < kDim / 8; n++) {
          if (8 * n < end) to[8 * n] = number(n, 0);
          if (8 * n + 1 < end) to[8 * n + 1] = number(n, 1);
        }
      }
    }
  }
};

}  // namespace tfjs_lla
