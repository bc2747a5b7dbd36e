// Gradient of the family, by keys (operator README, exact gradient): dkey, dvalue and dbias. Each block sums over the
// query rows that see its keys, in their order: no atomics, the same numbers every time.
#pragma once

#include "common/cuda/gradient_shape.h"
#include "common/cuda/prepare.cuh"
#include "common/cuda/row_record.cuh"

namespace tfjs_lla {

template <class Shape>
struct GradientKeys {
  static constexpr int kDim = Shape::kDim, kRows = Shape::kRows, kPartRows = Shape::kPartRows;
  static constexpr bool kHigh = Shape::kHigh, kSolved = Shape::kSolved, kHasProbe = Shape::kSource != kNoProbe;
  using Operand = RowOperand<kDim, Shape::kOperandPlace>;
  using Scores = float[kPartRows / 8][4];
  using Sums = float[kDim / 8][4];

  // How far weights are scaled up so that the largest comes to about 2^14; and from a unit of products to one of images, with that.
  struct WeightScales {
    float key, value;
    float of_query, of_key_product, of_value_product;
  };

  const ProbeParams& p;
  char* shared;
  int head, tile;
  int key_index[2];  // of this thread
  int first_row[2];  // rows before it do not see the key
  float bias[2];
  HeadSummary summary;
  Operand key, key_low, value, value_low;
  StageCopies<Shape::kCopiesByBlock, Shape::kThreads> copies;
  WeightScales scales;
  int bad_bound;
  int first_step, end_step;  // of query rows that see some key of the tile
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
    copies.Place(shared + Shape::kBarrierOffset, Shape::kStages);
    // Barriers of copies are there.
    SyncBlock();
    first_step = FirstRow(tile * kTileKeys) / kRows;
    end_step = (p.queries + kRows - 1) / kRows;
    if (first_step < end_step) LoadOperands();
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

  TFJS_LLA_DEVICE void LoadOperand(Operand& operand, const char* from, char* memory) {
    operand.Place(memory);
    if constexpr (Shape::kOperandPlace == kAsTile) {
      // With the first step.
      CopyTileRows<kDim, kTileKeys>(copies, 0, memory, from, 0);
    } else {
#pragma unroll
      for (int k = 0; k < kDim / 16; k++) {
        Half2Bits a[4];
#pragma unroll
        for (int i = 0; i < 4; i++) a[i] = *reinterpret_cast<const Half2Bits*>(from + FragmentOffset<kDim>(k, i));
        operand.Set(k, a);
      }
    }
  }

  TFJS_LLA_DEVICE void ReadTileRecords() {
    const RowTileRecord* records = p.tile_records + static_cast<long long>(head) * p.row_tiles;
    RowTileRecord all = {{1e-30f, 1e-30f, 1e-30f, 1e-30f}, 0};
    for (int t = ThreadIndex() % kWarpSize; t < p.row_tiles; t += kWarpSize) Combine(all, records[t]);
    CombineLanes(all);
    bad_bound = all.bad_bound;
    const float for_key = Max(all.largest[kQueryImage], Max(all.largest[kProbeImage], all.largest[kUImage]));
    const float for_value = all.largest[kDoutImage];
    // Nothing overflows where all of a head is tiny.
    constexpr float kMost = 1e36f;
    scales.key = 8192 / Max(PowerOfTwoBelow(for_key), 8192 / (summary.key_unit * kMost));
    scales.value = 8192 / Max(PowerOfTwoBelow(for_value), 8192 / (summary.value_unit * kMost));
    scales.of_key_product = scales.key / summary.key_unit;
    scales.of_query = scales.of_key_product / kLog2E;
    scales.of_value_product = scales.value / summary.value_unit;
  }

  // Which image lies in place `i` of a stage.
  TFJS_LLA_DEVICE static const char* ImageAt(const char* stage, int image) {
    return stage + image * Shape::kImageBytes;
  }

  TFJS_LLA_DEVICE void StartStep(int step) const {
    constexpr int kParts = kTileKeys / kRows;
    const int stage = (step - first_step) % Shape::kStages;
    if (step < end_step) {
      const long long row_tile = static_cast<long long>(head) * p.row_tiles + step / kParts;
      char* target = shared + stage * Shape::kStageBytes;
#pragma unroll
      for (int image = 0; image < Shape::kImages; image++) {
        const char* source = p.row_tiles_memory + (row_tile * kRowImages + image) * kTileBytes<kDim>;
#pragma unroll
        for (int half = 0; half < (kHigh ? 2 : 1); half++) {
          CopyTileRows<kDim, kRows>(copies, stage, target + image * Shape::kImageBytes + half * Shape::kLowOffset,
                                    source + half * (kTileBytes<kDim> / 2), step % kParts * kRows);
        }
      }
      const float* records = p.records + row_tile * (kRowFields * kTileKeys) + step % kParts * (kRowFields * kRows);
      copies.Copy(stage, target + Shape::kRecordOffset, records, kRowFields * kRows * 4);
    }
    copies.Close(stage, step < end_step);
  }

  TFJS_LLA_DEVICE void ForEachStep() {
    const int warp_first = FirstRow(tile * kTileKeys + (kByWarpgroup<kDim> ? 0 : ThreadIndex() / kWarpSize * kWarpRows));
    constexpr int kAhead = Shape::kStages - 1;
#pragma unroll
    for (int i = 0; i < kAhead; i++) StartStep(first_step + i);
    for (int step = first_step; step < end_step; step++) {
      const int stage = (step - first_step) % Shape::kStages;
      if constexpr (kAhead == 0) {
        // One stage: everybody has left it before it is filled.
        SyncBlock();
        StartStep(step);
      }
      copies.template Wait<(kAhead > 0 ? kAhead - 1 : 0)>(stage);
      if constexpr (!Shape::kCopiesByBlock) PublishTiles();
      SyncBlock();
      if constexpr (kAhead > 0) StartStep(step + kAhead);
      const char* memory = shared + stage * Shape::kStageBytes;
#pragma unroll 1
      for (int part = 0; part < kRows; part += kPartRows) {
        if (step * kRows + part + kPartRows > warp_first) AddPart(step * kRows + part, part, memory);
      }
    }
    if constexpr (!Shape::kCopiesByBlock) WaitForCopies<0>();
  }

  TFJS_LLA_DEVICE static void Products(const Operand& high, const Operand& low, const char* image, Scores& s) {
    KeyProducts<kDim, kPartRows, kRows, kHigh, false, false>(s, s, high, low, high, low, image);
  }

  TFJS_LLA_DEVICE static void AddWeighted(const Scores& w, const char* image, Sums& sum, Weights<kPartRows>& weights) {
    weights.template Round<kHigh>(w);
    AddWeightedRows<kDim, kPartRows, kRows, kHigh>(sum, weights, image);
  }

  // A field of this thread's two rows among eight.
  TFJS_LLA_DEVICE static float2 Pair(const float* records, int field, int n) {
    return *reinterpret_cast<const float2*>(records + field * kRecordRows<kDim> + n * 8 + ThreadIndex() % 4 * 2);
  }

  // Turns products into weights.
  TFJS_LLA_DEVICE void FindWeights(int first, const float* records, Scores& s) const {
    const int last_key = tile * kTileKeys + kTileKeys - 1;
    const bool all_seen = FirstRow(last_key) <= first && first + kPartRows <= p.queries;
#pragma unroll
    for (int n = 0; n < kPartRows / 8; n++) {
      const int column = n * 8 + ThreadIndex() % 4 * 2;
      const float2 units = Pair(records, kExponentUnit, n), tops = Pair(records, kRowTop, n);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        s[n][e] = s[n][e] * (e % 2 ? units.y : units.x) + (bias[e / 2] - (e % 2 ? tops.y : tops.x));
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
    constexpr int kTogether = kRecordRows<kDim>;
    const float* records = reinterpret_cast<const float*>(stage + Shape::kRecordOffset) +
                           part / kTogether * (kRowFields * kTogether) + part % kTogether;
    Scores s, gamma, t, y;
    Products(key, key_low, ImageAt(images, kQueryImage), s);
    Products(value, value_low, ImageAt(images, kDoutImage), gamma);
    if constexpr (kHasProbe) Products(key, key_low, ImageAt(images, kProbeImage), t);
    if constexpr (kSolved) Products(key, key_low, ImageAt(images, kUImage), y);
    // Split operands keep tensor cores busy for longer than the weights take: there it gains nothing to leave products running.
    FinishProducts<(kHigh ? 0 : Shape::kImages - 1)>(s);
    FindWeights(first, records, s);
    FinishProducts<0>(gamma);
    if constexpr (kHasProbe) FinishProducts<0>(t);
    if constexpr (kSolved) FinishProducts<0>(y);
#pragma unroll
    for (int n = 0; n < kPartRows / 8; n++) {
      const float2 units = Pair(records, kExponentUnit, n), gamma_units = Pair(records, kGammaUnit, n);
      const float2 probe_slopes = Pair(records, kProbeSlope, n), probe_offsets = Pair(records, kProbeOffset, n);
      const float2 eta_offsets = Pair(records, kEtaOffset, n), u_slopes = Pair(records, kUSlope, n);
      const float2 constants = Pair(records, kConstant, n);
#pragma unroll
      for (int c = 0; c < 2; c++) {
        const auto of_row = [&](const float2& pair) { return c ? pair.y : pair.x; };
        const float query_factor = of_row(units) * scales.of_query, dout_factor = of_row(gamma_units) * scales.of_value_product;
        const float probe_factor = of_row(probe_slopes) * scales.of_key_product;
        const float u_factor = -of_row(u_slopes) * scales.of_key_product;
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const int e = 2 * r + c;
          const float weight = s[n][e];
          const float tau = kHasProbe ? of_row(probe_offsets) + of_row(probe_slopes) * t[n][e] : 1.0f;
          float eta = gamma[n][e] * of_row(gamma_units) + of_row(eta_offsets);
          if constexpr (kSolved) eta -= of_row(u_slopes) * y[n][e];
          const float weighted_tau = weight * tau, weighted_eta = weight * eta;
          const float score = kHasProbe ? tau * weighted_eta - of_row(constants) * weight : weighted_eta;
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
