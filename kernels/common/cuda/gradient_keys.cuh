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

  const ProbeParams& p;
  char* shared;
  int head, tile;
  int key_index[2];  // of this thread
  int first_row[2];  // rows before it do not see the key
  float bias[2];
  bool biased;  // some bias is not zero, or its gradient is asked for
  HeadSummary summary;
  Operand key, key_low, value, value_low;
  StageCopies<Shape::kCopiesByBlock, Shape::kThreads> copies;
  float scale;  // of weights times units: the largest comes to about 2^14
  float log_scale;
  int bad_bound;
  int first_step, end_step;  // of query rows that see some key of the tile
  Sums dkey, dvalue;
  float dbias[2];

  TFJS_LLA_DEVICE GradientKeys(const ProbeParams& params) : p(params) {
    shared = SharedMemory();
    head = static_cast<int>(BlockIndex() % p.heads);
    tile = static_cast<int>(BlockIndex() / p.heads);
    summary = p.summary[head];
    biased = !summary.all_visible || p.dbias;
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
    RowTileRecord all = {1e-33f, 0};
    for (int t = ThreadIndex() % kWarpSize; t < p.row_tiles; t += kWarpSize) Combine(all, records[t]);
    CombineLanes(all);
    bad_bound = all.bad_bound;
    scale = 8192 / PowerOfTwoBelow(all.largest);
    log_scale = Log2(scale);
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

  // A field of this thread's two rows among eight.
  TFJS_LLA_DEVICE static float2 Pair(const float* records, int field, int n) {
    constexpr int kTogether = kRecordRows<kDim>;
    const int first = n * 8 / kTogether * (kRowFields * kTogether) + n * 8 % kTogether;
    return *reinterpret_cast<const float2*>(records + first + field * kTogether + ThreadIndex() % 4 * 2);
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
      const float2 units = Pair(records, kExponentUnit, n);
      float2 shifts = Pair(records, kRowShift, n);
      shifts.x += log_scale;
      shifts.y += log_scale;
#pragma unroll
      for (int e = 0; e < 4; e++) {
        s[n][e] = s[n][e] * (e % 2 ? units.y : units.x) + (e % 2 ? shifts.y : shifts.x);
        if (biased) s[n][e] += bias[e / 2];
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
    Scores s, eta, t;
    Products(key, key_low, ImageAt(images, kQueryImage), s);
    if constexpr (kSolved) {
      KeyProductSums<kDim, kPartRows, kRows, kHigh>(eta, value, value_low, ImageAt(images, kDoutImage), key, key_low,
                                                    ImageAt(images, kUImage));
    } else {
      Products(value, value_low, ImageAt(images, kDoutImage), eta);
    }
    if constexpr (kHasProbe) Products(key, key_low, ImageAt(images, kProbeImage), t);
    // Split operands keep tensor cores busy for longer than the weights take: there it gains nothing to leave products running.
    FinishProducts<(kHigh ? 0 : 1 + kHasProbe)>(s);
    FindWeights(first, records, s);
    FinishProducts<0>(eta);
    if constexpr (kHasProbe) FinishProducts<0>(t);
#pragma unroll
    for (int n = 0; n < kPartRows / 8; n++) {
      const float2 score_units = Pair(records, kScoreUnit, n);
      const float2 probe_slopes = Pair(records, kProbeSlope, n), probe_offsets = Pair(records, kProbeOffset, n);
      const float2 eta_offsets = Pair(records, kEtaOffset, n), constants = Pair(records, kConstant, n);
#pragma unroll
      for (int c = 0; c < 2; c++) {
        const auto of_row = [&](const float2& pair) { return c ? pair.y : pair.x; };
#pragma unroll
        for (int r = 0; r < 2; r++) {
          // The weight has the unit of eta as a factor, eta is in that unit.
          const int e = 2 * r + c;
          const float weight = s[n][e], row_eta = eta[n][e] + of_row(eta_offsets);
          const float tau = kHasProbe ? of_row(probe_offsets) + of_row(probe_slopes) * t[n][e] : 1.0f;
          const float score = weight * (kHasProbe ? tau * row_eta - of_row(constants) : row_eta);
          if (biased) dbias[r] += score;
          s[n][e] = score * of_row(score_units);
          eta[n][e] = weight * tau;
          if constexpr (kHasProbe) t[n][e] = weight * row_eta * of_row(probe_slopes);
        }
      }
    }
    Weights<kPartRows> of_query, of_dout, of_probe;
    AddWeighted(s, ImageAt(images, kQueryImage), dkey, of_query);
    AddWeighted(eta, ImageAt(images, kDoutImage), dvalue, of_dout);
    if constexpr (kHasProbe) AddWeighted(t, ImageAt(images, kProbeImage), dkey, of_probe);
    if constexpr (kSolved) AddWeightedRows<kDim, kPartRows, kRows, kHigh>(dkey, of_dout, ImageAt(images, kUImage));
    FinishProducts<0>(dkey);
    FinishProducts<0>(dvalue);
    of_query.template Release<kHigh>();
    of_dout.template Release<kHigh>();
    if constexpr (kHasProbe) of_probe.template Release<kHigh>();
  }

  TFJS_LLA_DEVICE void Store() {
    const int column = ThreadIndex() % 4 * 2;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float bias_sum = SumOverQuad(dbias[r]);
      if (key_index[r] >= p.keys) continue;
      const bool visible = bias[r] != kHiddenScore, bad = key_index[r] < bad_bound;
      const long long index = static_cast<long long>(head) * p.keys + key_index[r];
      const float otherwise = visible ? FromBits(0x7fc00000) : 0.0f;
      const auto result = [&](float x) { return visible && !bad ? x : otherwise; };
      const auto store = [&](const Sums& sums, float unit, float* to, int end) {
#pragma unroll
        for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
          for (int e = 0; e < 2; e++) {
            if (8 * n + e < end) to[8 * n + e] = result(sums[n][2 * r + e] * unit);
          }
        }
      };
      store(dkey, 1 / (scale * summary.key_unit), p.dkey + index * p.dim + column, p.dim - column);
      store(dvalue, 1 / (scale * summary.value_unit), p.dvalue + index * p.value_dim + column, p.value_dim - column);
      if (p.dbias && ThreadIndex() % 4 == 0) p.dbias[index] = result(bias_sum / scale);
    }
  }
};

}  // namespace tfjs_lla
