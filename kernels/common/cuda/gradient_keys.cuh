// Gradient of the family, by keys (operator README, exact gradient): dkey, dvalue and dbias. Each block sums over the
// query rows that see its keys, in their order: no atomics, the same numbers every time.
#pragma once

#include "common/cuda/gradient_shape.h"
#include "common/cuda/prepare.cuh"

namespace tfjs_lla {

template <class Shape>
struct GradientKeys {
  static constexpr int kDim = Shape::kDim, kRows = Shape::kRows, kPartRows = Shape::kPartRows;
  static constexpr bool kHigh = Shape::kHigh, kSolved = Shape::kSolved, kHasProbe = Shape::kSource != kNoProbe;
  using Operand = RowOperand<kDim, Shape::kOperandsInMemory>;
  using Scores = float[kPartRows / 8][4];
  using Sums = float[kDim / 8][4];

  // How far weights are scaled up so that the largest comes to about 2^14.
  struct WeightScales {
    float key, value;
  };

  const ProbeParams& p;
  char* shared;
  int head, tile;
  int key_index[2];  // of this thread
  int first_row[2];  // rows before it do not see the key
  float bias[2];
  HeadSummary summary;
  Operand key, key_low, value, value_low;
  WeightScales scales;
  int bad_bound;
  Sums dkey, dvalue;
  float dbias[2];

  TFJS_LLA_DEVICE GradientKeys(const ProbeParams& params) : p(params) {
    shared = SharedMemory();
    head = static_cast<int>(BlockIndex() % p.heads);
    tile = static_cast<int>(BlockIndex() / p.heads);
    summary = p.summary[head];
    const int lane = ThreadIndex() % kWarpSize, local = ThreadIndex() / kWarpSize * kWarpRows + lane / 4;
    for (int r = 0; r < 2; r++) {
      key_index[r] = tile * kTileKeys + local + 8 * r;
      first_row[r] = FirstRow(key_index[r]);
      bias[r] = p.bias[static_cast<long long>(head) * p.key_tiles_per_head * kTileKeys + key_index[r]];
    }
  }

  TFJS_LLA_DEVICE void Run() {
    LoadOperands();
    ReadTileRecords();
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) dkey[n][e] = dvalue[n][e] = 0;
    }
    dbias[0] = dbias[1] = 0;
    ForEachStep();
    Store();
    key.Keep(p.heads < 0, p.centre);
    value.Keep(p.heads < 0, p.centre);
    if constexpr (kHigh) {
      key_low.Keep(p.heads < 0, p.centre);
      value_low.Keep(p.heads < 0, p.centre);
    }
  }

 private:
  TFJS_LLA_DEVICE int FirstRow(int of_key) const {
    if (!p.causal) return 0;
    const int first = of_key - (p.keys - p.queries);
    return first < 0 ? 0 : first;
  }

  // Keys and values of the warp as left operands, from their tiles.
  TFJS_LLA_DEVICE void LoadOperands() {
    char* memory = Shape::kOperandsInShared ? shared + Shape::kOperandOffset
                                            : p.operands + BlockIndex() * Shape::kScratchOperandBytes;
    const char* keys = p.key_tiles + (static_cast<long long>(head) * p.key_tiles_per_head + tile) * kTileBytes<kDim>;
    const char* values =
        p.value_tiles + (static_cast<long long>(head) * p.key_tiles_per_head + tile) * kTileBytes<kDim>;
    LoadOperand(key, keys, memory);
    LoadOperand(value, values, memory + Shape::kOperandBytes);
    if constexpr (kHigh) {
      LoadOperand(key_low, keys + kTileBytes<kDim> / 2, memory + 2 * Shape::kOperandBytes);
      LoadOperand(value_low, values + kTileBytes<kDim> / 2, memory + 3 * Shape::kOperandBytes);
    }
  }

  TFJS_LLA_DEVICE static void LoadOperand(Operand& operand, const char* from, char* memory) {
    const int lane = ThreadIndex() % kWarpSize, first = ThreadIndex() / kWarpSize * kWarpRows + lane / 4;
    operand.Place(memory);
#pragma unroll
    for (int k = 0; k < kDim / 16; k++) {
      Half2Bits a[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int offset = ChunkOffset<kDim, kTileKeys>(first + i % 2 * 8, 2 * k + i / 2) + lane % 4 * 4;
        a[i] = *reinterpret_cast<const Half2Bits*>(from + offset);
      }
      operand.Set(k, a);
    }
  }

  TFJS_LLA_DEVICE void ReadTileRecords() {
    const RowTileRecord* records = p.tile_records + static_cast<long long>(head) * p.row_tiles;
    float for_key = 1e-30f, for_value = 1e-30f;
    bad_bound = 0;
    for (int t = 0; t < p.row_tiles; t++) {
      const RowTileRecord record = records[t];
      for_key = Max(for_key, record.largest[kQueryImage]);
      for_key = Max(for_key, Max(record.largest[kProbeImage], record.largest[kUImage]));
      for_value = Max(for_value, record.largest[kDoutImage]);
      if (record.bad_bound > bad_bound) bad_bound = record.bad_bound;
    }
    scales.key = 8192 / PowerOfTwoBelow(for_key);
    scales.value = 8192 / PowerOfTwoBelow(for_value);
  }

  // Which image lies in place `i` of a stage.
  TFJS_LLA_DEVICE static const char* ImageAt(const char* stage, int image) {
    return stage + image * Shape::kImageBytes;
  }

  TFJS_LLA_DEVICE void CopyStep(int step, int stage) const {
    constexpr int kParts = kTileKeys / kRows;
    const long long row_tile = static_cast<long long>(head) * p.row_tiles + step / kParts;
    char* target = shared + stage * Shape::kStageBytes;
#pragma unroll
    for (int image = 0; image < Shape::kImages; image++) {
      const char* source = p.row_tiles_memory + (row_tile * kRowImages + image) * kTileBytes<kDim>;
#pragma unroll
      for (int half = 0; half < (kHigh ? 2 : 1); half++) {
        CopyTileRows<kDim, kRows, Shape::kThreads>(target + image * Shape::kImageBytes + half * Shape::kLowOffset,
                                                   source + half * (kTileBytes<kDim> / 2), step % kParts * kRows);
      }
    }
    const float* records = p.records + row_tile * (kRowFields * kTileKeys) + step % kParts * kRows;
    for (int at = ThreadIndex() * 4; at < kRowFields * kRows; at += Shape::kThreads * 4) {
      CopyAsync(target + Shape::kRecordOffset + at * 4, records + at / kRows * kTileKeys + at % kRows);
    }
  }

  TFJS_LLA_DEVICE void ForEachStep() {
    const int first = FirstRow(tile * kTileKeys) / kRows, end = (p.queries + kRows - 1) / kRows;
    const int warp_first = FirstRow(tile * kTileKeys + (kByWarpgroup<kDim> ? 0 : ThreadIndex() / kWarpSize * kWarpRows));
    constexpr int kAhead = Shape::kStages - 1;
    SyncBlock();
#pragma unroll
    for (int i = 0; i < kAhead; i++) {
      if (first + i < end) CopyStep(first + i, i);
      CommitCopies();
    }
    for (int step = first; step < end; step++) {
      const int stage = (step - first) % Shape::kStages;
      if constexpr (kAhead == 0) {
        // One stage: everybody has left it before it is filled.
        SyncBlock();
        CopyStep(step, 0);
        CommitCopies();
      }
      WaitForCopies<(kAhead > 0 ? kAhead - 1 : 0)>();
      PublishTiles();
      SyncBlock();
      if constexpr (kAhead > 0) {
        if (step + kAhead < end) CopyStep(step + kAhead, (step - first + kAhead) % Shape::kStages);
        CommitCopies();
      }
      const char* memory = shared + stage * Shape::kStageBytes;
#pragma unroll 1
      for (int part = 0; part < kRows; part += kPartRows) {
        if (step * kRows + part + kPartRows > warp_first) AddPart(step * kRows + part, part, memory);
      }
    }
    WaitForCopies<0>();
  }

  TFJS_LLA_DEVICE static void Products(const Operand& high, const Operand& low, const char* image, Scores& s) {
    KeyProducts<kDim, kPartRows, kRows, kHigh, false, false>(s, s, high, low, high, low, image);
  }

  TFJS_LLA_DEVICE static void AddWeighted(const Scores& w, const char* image, Sums& sum, Weights<kPartRows>& weights) {
    weights.template Round<kHigh>(w);
    AddWeightedRows<kDim, kPartRows, kRows, kHigh>(sum, weights, image);
  }

  // Turns products into weights.
  TFJS_LLA_DEVICE void FindWeights(int first, const float* records, Scores& s) const {
    const int last_key = tile * kTileKeys + kTileKeys - 1;
    const bool all_seen = FirstRow(last_key) <= first && first + kPartRows <= p.queries;
#pragma unroll
    for (int n = 0; n < kPartRows / 8; n++) {
      const int column = n * 8 + ThreadIndex() % 4 * 2;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const float* at = records + column + e % 2;
        s[n][e] = s[n][e] * at[kExponentUnit * kRows] + (bias[e / 2] - at[kRowTop * kRows]);
      }
      if (all_seen) continue;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const int row = first + column + e % 2;
        if (row < first_row[e / 2] || row >= p.queries) s[n][e] = kHiddenScore;
      }
    }
#pragma unroll
    for (int n = 0; n < kPartRows / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) s[n][e] = Exp2(s[n][e]);
    }
  }

  // Adds the share of query rows from `first`, which lie `part` rows into a stage.
  TFJS_LLA_DEVICE void AddPart(int first, int part, const char* stage) {
    const char* images = stage + part * kRowBytes<kDim>;
    const float* records = reinterpret_cast<const float*>(stage + Shape::kRecordOffset) + part;
    Scores s, gamma, t, y;
    Products(key, key_low, ImageAt(images, kQueryImage), s);
    Products(value, value_low, ImageAt(images, kDoutImage), gamma);
    if constexpr (kHasProbe) Products(key, key_low, ImageAt(images, kProbeImage), t);
    if constexpr (kSolved) Products(key, key_low, ImageAt(images, kUImage), y);
    FinishProducts<0>(s);
    FinishProducts<0>(gamma);
    if constexpr (kHasProbe) FinishProducts<0>(t);
    if constexpr (kSolved) FinishProducts<0>(y);
    FindWeights(first, records, s);
#pragma unroll
    for (int n = 0; n < kPartRows / 8; n++) {
      const float* at = records + n * 8 + ThreadIndex() % 4 * 2;
#pragma unroll
      for (int c = 0; c < 2; c++) {
        const auto field = [&](RowField which) { return at[which * kRows + c]; };
        const float query_factor = field(kQueryUnit) * scales.key, dout_factor = field(kDoutUnit) * scales.value;
        const float probe_factor = field(kProbeUnit) * scales.key, u_factor = -field(kUUnit) * scales.key;
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const int e = 2 * r + c;
          const float weight = s[n][e];
          const float tau = kHasProbe ? field(kProbeOffset) + field(kProbeSlope) * t[n][e] : 1.0f;
          float eta = gamma[n][e] * field(kGammaUnit) + field(kEtaOffset);
          if constexpr (kSolved) eta -= field(kUSlope) * y[n][e];
          const float weighted_tau = weight * tau, weighted_eta = weight * eta;
          const float score = kHasProbe ? tau * weighted_eta - field(kConstant) * weight : weighted_eta;
          dbias[r] += score;
          s[n][e] = score * query_factor;
          gamma[n][e] = weighted_tau * dout_factor;
          if constexpr (kHasProbe) t[n][e] = weighted_eta * probe_factor;
          if constexpr (kSolved) y[n][e] = weighted_tau * u_factor;
        }
      }
    }
    Weights<kPartRows> of_query, of_dout, of_probe, of_u;
    AddWeighted(s, ImageAt(images, kQueryImage), dkey, of_query);
    AddWeighted(gamma, ImageAt(images, kDoutImage), dvalue, of_dout);
    if constexpr (kHasProbe) AddWeighted(t, ImageAt(images, kProbeImage), dkey, of_probe);
    if constexpr (kSolved) AddWeighted(y, ImageAt(images, kUImage), dkey, of_u);
    FinishProducts<0>(dkey);
    FinishProducts<0>(dvalue);
    of_query.template Release<kHigh>();
    of_dout.template Release<kHigh>();
    if constexpr (kHasProbe) of_probe.template Release<kHigh>();
    if constexpr (kSolved) of_u.template Release<kHigh>();
  }

  TFJS_LLA_DEVICE void Store() {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float bias_sum = SumOverQuad(dbias[r]);
      if (key_index[r] >= p.keys) continue;
      const bool visible = bias[r] != kHiddenScore, bad = key_index[r] < bad_bound;
      const long long index = static_cast<long long>(head) * p.keys + key_index[r];
      const auto result = [&](float x) { return !visible ? 0.0f : bad ? FromBits(0x7fc00000) : x; };
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const int column = n * 8 + ThreadIndex() % 4 * 2 + e;
          if (column < p.dim) p.dkey[index * p.dim + column] = result(dkey[n][2 * r + e] / scales.key);
          if (column < p.value_dim)
            p.dvalue[index * p.value_dim + column] = result(dvalue[n][2 * r + e] / scales.value);
        }
      }
      if (p.dbias && ThreadIndex() % 4 == 0) p.dbias[index] = result(bias_sum);
    }
  }
};

}  // namespace tfjs_lla
