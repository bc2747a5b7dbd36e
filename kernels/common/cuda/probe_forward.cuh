// Forward pass of softmax, Parallax and local linear attention: o = sum_j p_j (1 + y_j . x) v_j for a probe x.
#pragma once

#include "common/cuda/direct_rows.cuh"

namespace tfjs_lla {

template <class Shape>
struct ProbeForward {
  using Rows = QueryRows<Shape>;
  using Operand = typename Rows::Operand;
  using Scores = typename Rows::template Scores<Shape::kPartKeys>;
  using Sums = typename Rows::Sums;
  static constexpr int kDim = Shape::kDim, kPartKeys = Shape::kPartKeys;
  static constexpr bool kHigh = Shape::kHigh;
  static constexpr ProbeSource kSource = Shape::kSource;

  const ProbeParams& p;
  Rows rows;
  RowStatistics statistics;
  Operand probe, probe_low;
  float ridge[2];

  TFJS_LLA_DEVICE ProbeForward(const ProbeParams& params) : p(params), rows(params) {}

  TFJS_LLA_DEVICE void Run() {
    char* memory = rows.OperandMemory();
    rows.LoadQueries(memory);
    if constexpr (kSource != kNoProbe) {
      memory += Shape::kOperandBytes * (kHigh ? 2 : 1);
      probe.Place(memory);
      probe_low.Place(memory + Shape::kOperandBytes);
    }
    if constexpr (kSource == kNoProbe) {
      for (int slice = 0; slice < p.value_slices; slice++) Average(slice);
    } else {
      float probe_unit[2], mean_product[2], bound[2];
      FindProbe(probe_unit, mean_product, bound);
      for (int slice = 0; slice < p.value_slices; slice++) WriteSlice(slice, probe_unit, mean_product, bound);
      rows.Keep(probe);
      if constexpr (kHigh) rows.Keep(probe_low);
    }
    rows.Keep(rows.query);
    if constexpr (kHigh) rows.Keep(rows.query_low);
  }

 private:
  // Softmax attention: statistics and the mean of a slice of values in one pass.
  TFJS_LLA_DEVICE void Average(int slice) {
    Sums mean;
    ClearSums<kDim>(mean);
    float top[2] = {kHiddenScore, kHiddenScore}, sum[2] = {0, 0}, inverse[2];
    rows.template ForEachStep<2, kPartKeys>(
        [&](int step, int stage, int slot) {
          rows.CopyKeys(step, stage, slot);
          rows.CopyValues(slice, step, stage, slot + 1);
        },
        [&](const KeyPart& part) {
          Scores s, unused;
          float kept[2];
          rows.template KeyProducts<false, false>(part, s, unused, rows.query, rows.query);
          FinishProducts<0>(s);
          if (!AdvanceWeights(rows, part, s, top, sum, kept)) ScaleRows<kDim>(mean, kept);
          Rows::AddWeighted(mean, s, part.values);
        });
    InvertSums(sum, inverse);
    const float factor[2] = {inverse[0] * rows.summary.value_unit, inverse[1] * rows.summary.value_unit};
    rows.StoreRows(mean, factor, p.out, p.value_dim, slice * kDim);
  }

  // Statistics of the weights and, where it is asked for, the mean key in the unit of the key tiles.
  TFJS_LLA_DEVICE void FindMeanKey(Sums& mean) {
    ClearSums<kDim>(mean);
    float top[2] = {kHiddenScore, kHiddenScore}, sum[2] = {0, 0}, inverse[2];
    rows.template ForEachStep<1, kPartKeys>([&](int step, int stage, int slot) { rows.CopyKeys(step, stage, slot); },
                                 [&](const KeyPart& part) {
                                   Scores s, unused;
                                   float kept[2];
                                   rows.template KeyProducts<false, false>(part, s, unused, rows.query, rows.query);
                                   FinishProducts<0>(s);
          FinishProducts<0>(s);
                                   if (!AdvanceWeights(rows, part, s, top, sum, kept)) ScaleRows<kDim>(mean, kept);
                                   Rows::AddWeighted(mean, s, part.keys);
                                 });
    InvertSums(sum, inverse);
    ScaleRows<kDim>(mean, inverse);
    statistics.Set(top, inverse);
  }

  // Statistics of the weights, and the mean product of probe and key.
  TFJS_LLA_DEVICE void FindMeanProduct(float (&mean_product)[2]) {
    float top[2] = {kHiddenScore, kHiddenScore}, sum[2] = {0, 0}, inverse[2], product[2] = {0, 0};
    rows.template ForEachStep<1, kPartKeys>([&](int step, int stage, int slot) { rows.CopyKeys(step, stage, slot); },
                                 [&](const KeyPart& part) {
                                   Scores s, t;
                                   float kept[2];
                                   rows.template KeyProducts<true, kHigh>(part, s, t, probe, probe_low);
                                   FinishProducts<1>(s);
                                   AdvanceWeights(rows, part, s, top, sum, kept);
                                   FinishProducts<0>(t);
#pragma unroll
                                   for (int r = 0; r < 2; r++) product[r] *= kept[r];
#pragma unroll
                                   for (int n = 0; n < kPartKeys / 8; n++) {
#pragma unroll
                                     for (int e = 0; e < 4; e++) product[e / 2] += s[n][e] * t[n][e];
                                   }
                                 });
    InvertSums(sum, inverse);
    statistics.Set(top, inverse);
#pragma unroll
    for (int r = 0; r < 2; r++) mean_product[r] = SumOverQuad(product[r]) * inverse[r];
  }

  // The probe as an operand in units of `probe_unit`, its product with the mean key in the same unit and that of the
  // key tiles, and a bound of |1 + y . x| over all keys.
  TFJS_LLA_DEVICE void FindProbe(float (&probe_unit)[2], float (&mean_product)[2], float (&bound)[2]) {
    const float unit = rows.summary.key_unit;
    Sums x;
    if constexpr (kSource == kSolvedProbe) {
      LoadRidge(rows, ridge);
      RowSolver<Shape> solver(rows, statistics);
      FindMeanKey(x);
      const float one[2] = {1, 1};
      solver.Save(RowSolver<Shape>::kMeanKey, x, one);
      Sums query;
      rows.LoadRows(p.query, p.dim, query);
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int column = Rows::Column(n, e);
          x[n][e] = query[n][e] - p.centre[rows.head * kDim + column] - unit * x[n][e];
        }
      }
      LeaveRows(rows, ridge, statistics);
      rows.ClearRows(x);
      solver.Solve(x, ridge, probe, probe_low);
      LeaveMissedRows(rows, solver.missed);
      rows.StoreRows(x, one, p.probe_out, p.dim, 0);
      if (p.iterations && ThreadIndex() == 0) p.iterations[rows.tile * p.heads + rows.head] = solver.iterations;
      RoundProbe(x, probe_unit, bound);
      solver.DotMeanKey(x, mean_product);
    } else {
      rows.LoadRows(p.probe, p.dim, x);
      rows.RequireFinite(x);
      rows.ClearRows(x);
      const float minus[2] = {-1, -1};
      ScaleRows<kDim>(x, minus);
      RoundProbe(x, probe_unit, bound);
      FindMeanProduct(mean_product);
    }
  }

  TFJS_LLA_DEVICE void RoundProbe(Sums& x, float (&probe_unit)[2], float (&bound)[2]) {
    const float unit = rows.summary.key_unit;
    Rows::RowUnits(x, probe_unit);
    const float factor[2] = {1 / probe_unit[0], 1 / probe_unit[1]};
    Rows::template Round<kHigh>(x, factor, probe, probe_low);
    float sum[2];
    AbsoluteSums<kDim>(x, sum);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      // A number of a key tile is below 2^10, a mean of them as well.
      bound[r] = 1 + sum[r] * probe_unit[r] * unit * 2048;
    }
  }

  // out = sum_j p_j (1 + y_j . x) v_j for a slice of values.
  TFJS_LLA_DEVICE void WriteSlice(int slice, const float (&probe_unit)[2], const float (&mean_product)[2],
                                  const float (&bound)[2]) {
    float slope[2], offset[2], factor[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      // The largest weight times 1 + y . x becomes less than 2^15.
      const float weight_unit = PowerOfTwoBelow(bound[r]) * (1.0f / 8192);
      slope[r] = probe_unit[r] * rows.summary.key_unit / weight_unit;
      offset[r] = 1 / weight_unit - mean_product[r] * slope[r];
      factor[r] = statistics.inverse_sum[r] * weight_unit * rows.summary.value_unit;
    }
    Sums out;
    ClearSums<kDim>(out);
    rows.template ForEachStep<2, kPartKeys>(
        [&](int step, int stage, int slot) {
          rows.CopyKeys(step, stage, slot);
          rows.CopyValues(slice, step, stage, slot + 1);
        },
        [&](const KeyPart& part) {
          Scores s, t;
          rows.template KeyProducts<true, kHigh>(part, s, t, probe, probe_low);
          FinishProducts<1>(s);
          rows.WeighScores(part, s, statistics.top);
          FinishProducts<0>(t);
#pragma unroll
          for (int n = 0; n < kPartKeys / 8; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) s[n][e] *= t[n][e] * slope[e / 2] + offset[e / 2];
          }
          Rows::AddWeighted(out, s, part.values);
        });
    rows.StoreRows(out, factor, p.out, p.value_dim, slice * kDim);
  }
};

}  // namespace tfjs_lla
