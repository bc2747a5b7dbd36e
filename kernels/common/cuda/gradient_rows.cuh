// Gradient of the family, by query rows (operator README, exact gradient): dquery, dprobe, dridge, and for every row
// what the gradient of keys and values needs of it.
#pragma once

#include "common/cuda/gradient_shape.h"
#include "common/cuda/direct_rows.cuh"
#include "common/cuda/row_record.cuh"

namespace tfjs_lla {

template <class Shape>
struct GradientRows {
  using Rows = QueryRows<Shape>;
  using Solver = RowSolver<Shape>;
  using Scores = typename Rows::template Scores<Shape::kPartKeys>;
  using Sums = typename Rows::Sums;
  // dout, probe and u.
  using Later = RowOperand<Shape::kDim, Shape::kLaterPlace>;
  static constexpr int kDim = Shape::kDim, kPartKeys = Shape::kPartKeys;
  static constexpr bool kHigh = Shape::kHigh, kSolved = Shape::kSolved, kHasProbe = Shape::kSource != kNoProbe;

  // Units of products are divided by.
  static constexpr float kLeastGammaUnit = 0x1p-120f;

  // A number of an operand is below 2^10 in the unit of its row: this many times larger still fits into half precision.
  static constexpr float kMostUnits = 16;

  // How far the largest exponent may rise before the centre of gamma moves: a factor of 16 in weight.
  static constexpr float kCentreLag = 4;
  // Weights of images of keys are scaled as if they came to this much of a unit, 2^-18 of their bound.
  static constexpr float kLeastWeight = 0x1p-5f;

  const ProbeParams& p;
  Rows rows;
  RowStatistics statistics;
  Later dout, dout_low, probe, probe_low, u, u_low;
  float gamma_unit[2];  // of the products of dout and value tiles, and of minus u and key tiles
  float probe_unit[2];
  float dout_bound[2], probe_bound[2], u_bound[2];
  float mean_gamma[2];
  float probe_slope[2], probe_offset[2];  // 1 + y . x = offset + slope * product
  float u_offset[2];                      // kbar . u
  float constant[2];
  float ridge[2];

  TFJS_LLA_DEVICE GradientRows(const ProbeParams& params) : p(params), rows(params) {}

  TFJS_LLA_DEVICE void Run() {
    rows.LoadQueries(Shape::kQueryAsTile ? rows.shared + Shape::kQueryOffset : rows.OperandMemory());
    PlaceOperands();
    LoadInputs();
    Sums n;
    FindMoments(n);
    const float zero[2] = {0, 0};
    Copy(zero, constant);
    Copy(zero, u_offset);
    if constexpr (kHasProbe) {
      if constexpr (kSolved) {
        LeaveRows(rows, ridge, statistics);
        rows.ClearRows(n);
      }
      if constexpr (kSolved) {
        typename Rows::Operand direction, direction_low;
        direction.Place(rows.OperandMemory() + Shape::kOperandBytes * (kHigh ? 2 : 1));
        direction_low.Place(rows.OperandMemory() + Shape::kOperandBytes * (kHigh ? 3 : 2));
        Solver solver = State();
        solver.Solve(n, ridge, direction, direction_low);
        LeaveMissedRows(rows, solver.missed);
        rows.ClearRows(n);
      }
      FinishProbe(n);
    }
    WriteQueries();
    WriteImages();
  }

 private:
  // Not a member: references among members would keep all of them out of registers.
  TFJS_LLA_DEVICE Solver State() const { return Solver(rows, statistics); }

  TFJS_LLA_DEVICE static void Copy(const float (&from)[2], float (&to)[2]) {
    to[0] = from[0];
    to[1] = from[1];
  }

  TFJS_LLA_DEVICE void PlaceOperands() {
    char* memory = Shape::kLaterInShared ? rows.shared + Shape::kLaterOffset
                                         : rows.ScratchOperands() + Shape::kFirstScratchBytes;
    Place(memory, dout, dout_low);
    if constexpr (kHasProbe) Place(memory, probe, probe_low);
    if constexpr (kSolved) Place(memory, u, u_low);
  }

  TFJS_LLA_DEVICE static void Place(char*& memory, Later& high, Later& low) {
    high.Place(memory);
    low.Place(memory + Shape::kOperandBytes);
    memory += (kHigh ? 2 : 1) * Shape::kOperandBytes;
  }

  // Rounds rows to an operand in some unit. `bound`: at least the sum of their absolute values, in that unit.
  TFJS_LLA_DEVICE void RoundRows(Sums& x, const float (&unit)[2], Later& high, Later& low, float (&bound)[2]) const {
    const float factor[2] = {1 / unit[0], 1 / unit[1]};
    Rows::template Round<kHigh>(x, factor, high, low);
    AbsoluteSums<kDim>(x, bound);
  }

  TFJS_LLA_DEVICE void LoadInputs() {
    Sums x;
    if constexpr (kSolved) LoadRidge(rows, ridge);
    if constexpr (kHasProbe) {
      rows.LoadRows(p.probe, p.dim, x);
      rows.RequireFinite(x);
    }
    Sums g;
    rows.LoadRows(p.dout, p.value_dim, g);
    rows.RequireFinite(g);
    rows.ClearRows(g);
    Rows::RowUnits(g, gamma_unit);
    for (int r = 0; r < 2; r++) gamma_unit[r] = Max(gamma_unit[r] * rows.summary.value_unit, kLeastGammaUnit);
    RoundDout(g);
    if constexpr (kHasProbe) {
      rows.ClearRows(x);
      const float sign[2] = {kSolved ? 1.0f : -1.0f, kSolved ? 1.0f : -1.0f};
      ScaleRows<kDim>(x, sign);
      Rows::RowUnits(x, probe_unit);
      RoundRows(x, probe_unit, probe, probe_low, probe_bound);
    }
  }

  // Rounds dout so that its products with value tiles have the unit that was chosen for them.
  TFJS_LLA_DEVICE void RoundDout(Sums& g) {
    const float unit[2] = {gamma_unit[0] / rows.summary.value_unit, gamma_unit[1] / rows.summary.value_unit};
    RoundRows(g, unit, dout, dout_low, dout_bound);
  }

  // Rounds minus u so that its products with key tiles have the unit of those of dout and value tiles: both are added up in one
  // sum. Products of u are hardly the larger ones, u is what a regression has of gamma; where half precision does not hold
  // it in that unit, both change to a larger one.
  TFJS_LLA_DEVICE void RoundU(Sums& x) {
    float unit[2], least[2];
    Rows::RowUnits(x, least);
    bool larger = false;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      unit[r] = gamma_unit[r] / rows.summary.key_unit;
      if (least[r] <= kMostUnits * unit[r]) continue;
      larger = true;
      unit[r] = least[r];
      gamma_unit[r] = unit[r] * rows.summary.key_unit;
    }
    const float minus[2] = {-1, -1};
    ScaleRows<kDim>(x, minus);
    RoundRows(x, unit, u, u_low, u_bound);
    if (AnyInWarp(larger)) {
      Sums g;
      rows.LoadRows(p.dout, p.value_dim, g);
      rows.ClearRows(g);
      RoundDout(g);
    }
  }

  // Statistics of the weights, mean gamma and, with a probe, the mean key and n = sum_j p_j (gamma_j - mean gamma) k_j. All in
  // one pass, so gamma is taken relative to that of a key with a large weight: where one key has nearly all of it, n is small,
  // and a difference of large sums would lose it.
  TFJS_LLA_DEVICE void FindMoments(Sums& n_sum) {
    Sums mean;
    ClearSums<kDim>(mean);
    ClearSums<kDim>(n_sum);
    float top[2] = {kHiddenScore, kHiddenScore}, sum[2] = {0, 0}, gamma_sum[2] = {0, 0}, inverse[2];
    float unit[2], slope[2], centre[2] = {0, 0}, centre_top[2] = {2 * kHiddenScore, 2 * kHiddenScore};
#pragma unroll
    for (int r = 0; r < 2; r++) {
      // A number of a value tile is below 2^10, a weight at most 2^8.
      unit[r] = PowerOfTwoBelow(4096 * dout_bound[r] * gamma_unit[r] + kSmallest) * (1.0f / 64);
      slope[r] = gamma_unit[r] / unit[r];
    }
    ForEachPair([&](const KeyPart& part) {
      Scores s, gamma;
      float kept[2];
      const float before[2] = {sum[0], sum[1]};
      Rows::Products(part.keys, s, rows.query, rows.query_low);
      Rows::Products(part.values, gamma, dout, dout_low);
      FinishProducts<1>(s);
      const bool unchanged = AdvanceWeights(rows, part, s, top, sum, kept);
      FinishProducts<0>(gamma);
#pragma unroll
      for (int r = 0; r < 2; r++) gamma_sum[r] *= kept[r];
      if (kHasProbe && !unchanged) {
        ScaleRows<kDim>(mean, kept);
        ScaleRows<kDim>(n_sum, kept);
      }
      // Now and then what was summed becomes relative to a new centre.
      const bool moves[2] = {top[0] > centre_top[0] + kCentreLag, top[1] > centre_top[1] + kCentreLag};
      if (AnyInWarp(moves[0] || moves[1])) {
        float moved[2];
        NumbersAtHeaviest(s, gamma, slope, moved);
#pragma unroll
        for (int r = 0; r < 2; r++) {
          moved[r] = moves[r] ? centre[r] - moved[r] : 0.0f;
          if (moves[r]) centre_top[r] = top[r];
          centre[r] -= moved[r];
          gamma_sum[r] += moved[r] * (before[r] * kept[r]);
        }
        if constexpr (kHasProbe) {
#pragma unroll
          for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
            for (int e = 0; e < 4; e++) n_sum[n][e] += moved[e / 2] * mean[n][e];
          }
        }
      }
      Weights<kPartKeys> weights, products;
      if constexpr (kHasProbe) {
        weights.template Round<kHigh>(s);
        AddWeightedRows<kDim, kPartKeys, Rows::kKeys, kHigh>(mean, weights, part.keys);
      }
#pragma unroll
      for (int n = 0; n < kPartKeys / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          s[n][e] *= gamma[n][e] * slope[e / 2] - centre[e / 2];
          gamma_sum[e / 2] += s[n][e];
        }
      }
      if constexpr (kHasProbe) {
        products.template Round<kHigh>(s);
        AddWeightedRows<kDim, kPartKeys, Rows::kKeys, kHigh>(n_sum, products, part.keys);
        FinishProducts<0>(mean);
        FinishProducts<0>(n_sum);
        weights.template Release<kHigh>();
        products.template Release<kHigh>();
      }
    });
    InvertSums(sum, inverse);
    float mean_difference[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      mean_difference[r] = SumOverQuad(gamma_sum[r]) * inverse[r];
      mean_gamma[r] = (mean_difference[r] + centre[r]) * unit[r];
    }
    statistics.Set(top, inverse);
    probe_slope[0] = probe_slope[1] = 0;
    probe_offset[0] = probe_offset[1] = 1;
    if constexpr (kHasProbe) {
      ScaleRows<kDim>(mean, inverse);
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int r = e / 2;
          const float moment = n_sum[n][e] * inverse[r] - mean_difference[r] * mean[n][e];
          n_sum[n][e] = moment * (unit[r] * rows.summary.key_unit);
        }
      }
      rows.ClearRows(n_sum);
      const float one[2] = {1, 1};
      State().Save(Solver::kMeanKey, mean, one);
      Sums x;
      ReadRows<kDim, kHigh>(probe, probe_low, x);
      float product[2];
      State().DotMeanKey(x, product);
#pragma unroll
      for (int r = 0; r < 2; r++) {
        probe_slope[r] = probe_unit[r] * rows.summary.key_unit;
        probe_offset[r] = 1 - product[r] * probe_slope[r];
      }
    }
  }

  // Given n, or u where that was solved for: gradients of probe and ridge, the constant of the scores' gradient.
  TFJS_LLA_DEVICE void FinishProbe(Sums& n_or_u) {
    const float one[2] = {1, 1}, minus[2] = {-1, -1};
    Sums x;
    rows.LoadRows(p.probe, p.dim, x);
    rows.ClearRows(x);
    float product[2] = {0, 0};
#pragma unroll
    for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) product[e / 2] += n_or_u[n][e] * x[n][e];
    }
#pragma unroll
    for (int r = 0; r < 2; r++) product[r] = SumOverQuad(product[r]);
    if constexpr (!kSolved) {
      // The probe is minus the input.
      constant[0] = -product[0];
      constant[1] = -product[1];
      rows.StoreRows(n_or_u, minus, p.dprobe, p.dim, 0);
    } else {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        constant[r] = ridge[r] * product[r];
        if (p.dridge && rows.exists[r] && ThreadIndex() % 4 == 0) {
          p.dridge[rows.RowIndex(r)] = rows.ordinary[r] ? -product[r] : rows.bad[r] ? FromBits(0x7fc00000) : 0.0f;
        }
      }
      State().Save(Solver::kSolution, n_or_u, one);
      RoundU(n_or_u);
      State().DotMeanKey(n_or_u, product);
#pragma unroll
      for (int r = 0; r < 2; r++) u_offset[r] = -product[r] * gamma_unit[r];
    }
  }

  // dquery, and the largest weights that the gradient of keys will meet.
  TFJS_LLA_DEVICE void WriteQueries() {
    float unit[2], slope[2], offset[2], scaled_constant[2], most[3][2] = {{0, 0}, {0, 0}, {0, 0}};
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float key_bound = 2048 * rows.summary.key_unit;
      float bound = 2048 * dout_bound[r] * gamma_unit[r];
      if constexpr (kSolved) bound += 2048 * u_bound[r] * gamma_unit[r];
      if constexpr (kHasProbe) bound *= 1 + key_bound * probe_bound[r] * probe_unit[r];
      unit[r] = PowerOfTwoBelow(bound + Abs(constant[r]) + kSmallest) * (1.0f / 8192);
      // Of eta, and of the constant, in that unit.
      const float inverse_unit = 1 / unit[r];
      slope[r] = gamma_unit[r] * inverse_unit;
      offset[r] = (u_offset[r] - mean_gamma[r]) * inverse_unit;
      scaled_constant[r] = constant[r] * inverse_unit;
    }
    Sums sum;
    ClearSums<kDim>(sum);
    ForEachPair([&](const KeyPart& part) {
      Scores s, t, eta;
      Rows::Products(part.keys, s, rows.query, rows.query_low);
      if constexpr (kSolved) {
        KeyProductSums<kDim, kPartKeys, Rows::kKeys, kHigh>(eta, dout, dout_low, part.values, u, u_low, part.keys);
      } else {
        Rows::Products(part.values, eta, dout, dout_low);
      }
      if constexpr (kHasProbe) Rows::Products(part.keys, t, probe, probe_low);
      FinishProducts<1 + kHasProbe>(s);
      rows.WeighScores(part, s, statistics.top);
      FinishProducts<kHasProbe>(eta);
      if constexpr (kHasProbe) FinishProducts<0>(t);
#pragma unroll
      for (int n = 0; n < kPartKeys / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          const int r = e / 2;
          const float weight = s[n][e], scaled_eta = eta[n][e] * slope[r] + offset[r];
          const float tau = kHasProbe ? probe_offset[r] + probe_slope[r] * t[n][e] : 1.0f;
          s[n][e] *= kHasProbe ? tau * scaled_eta - scaled_constant[r] : scaled_eta;
          Raise(most[0][r], s[n][e]);
          if constexpr (kHasProbe) Raise(most[1][r], weight * scaled_eta);
          Raise(most[2][r], weight * tau);
        }
      }
      Rows::AddWeighted(sum, s, part.keys);
    });
    float factor[2];
    const float one[2] = {1, 1};
    // What cancels here leaves something in the kernel of keys, which rounds otherwise, and must not overflow there.
#pragma unroll
    for (int r = 0; r < 2; r++) {
      most[0][r] = unit[r] * Max(most[0][r], kLeastWeight);
      most[1][r] = unit[r] * Max(most[1][r], kLeastWeight);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) factor[r] = unit[r] * statistics.inverse_sum[r] * rows.summary.key_unit * p.scale;
    ScaleRows<kDim>(sum, factor);
    if constexpr (kSolved) {
      Sums u_rows;
      State().Load(Solver::kSolution, u_rows, one);
#pragma unroll
      for (int n = 0; n < kDim / 8; n++) {
#pragma unroll
        for (int e = 0; e < 4; e++) sum[n][e] += u_rows[n][e];
      }
    }
    rows.StoreRows(sum, one, p.dquery, p.dim, 0);
    WriteRecords(most);
  }

  TFJS_LLA_DEVICE static void Raise(float& most, float x) { most = Max(most, Abs(x)); }

  TFJS_LLA_DEVICE void WriteRecords(const float (&most)[3][2]) {
    const int local = ThreadIndex() / kWarpSize * kWarpRows + ThreadIndex() % kWarpSize / 4;
    const long long index = static_cast<long long>(rows.head) * p.row_tiles + rows.tile;
    RowTileRecord all = {0, 0};
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const bool ordinary = rows.ordinary[r];
      const float inverse = ordinary ? statistics.inverse_sum[r] : 0.0f, score_unit = rows.unit[r] / kLog2E;
      // A row that adds nothing: no weight is above zero.
      const float fields[kRowFields] = {ordinary ? rows.unit[r] : 0.0f,
                                        ordinary ? score_unit : 0.0f,
                                        ordinary ? Log2(inverse) - statistics.top[r] + Log2(gamma_unit[r]) : kHiddenScore,
                                        probe_slope[r],
                                        probe_offset[r],
                                        (u_offset[r] - mean_gamma[r]) / gamma_unit[r],
                                        constant[r] / gamma_unit[r]};
      if (ThreadIndex() % 4 == 0) {
        constexpr int kRows = kRecordRows<kDim>;
        const int row = local + 8 * r;
        float* const at = p.records + index * (kRowFields * Shape::kRows) + row / kRows * (kRowFields * kRows) + row % kRows;
#pragma unroll
        for (int i = 0; i < kRowFields; i++) at[i * kRows] = fields[i];
      }
      if (rows.bad[r] && rows.bound[r] > all.bad_bound) all.bad_bound = rows.bound[r];
      Raise(all.largest, most[0][r] * inverse * score_unit);
      Raise(all.largest, most[1][r] * inverse * probe_slope[r]);
      Raise(all.largest, most[2][r] * inverse * gamma_unit[r]);
    }
    CombineBlock<Shape::kThreads>(all, rows.shared, p.tile_records + index);
  }

  TFJS_LLA_DEVICE void WriteImages() {
    const auto target = [&](RowImage image) {
      const long long row_tile = static_cast<long long>(rows.head) * p.row_tiles + rows.tile;
      return p.row_tiles_memory + (row_tile * kRowImages + image) * kTileBytes<kDim>;
    };
    WriteRows<kDim, kHigh>(target(kQueryImage), rows.query, rows.query_low);
    WriteRows<kDim, kHigh>(target(kDoutImage), dout, dout_low);
    if constexpr (kHasProbe) WriteRows<kDim, kHigh>(target(kProbeImage), probe, probe_low);
    if constexpr (kSolved) WriteRows<kDim, kHigh>(target(kUImage), u, u_low);
  }

  template <class Body>
  TFJS_LLA_DEVICE void ForEachPair(Body body) const {
    rows.template ForEachStep<2, kPartKeys>(
        [&](int step, int stage, int slot) {
          rows.CopyKeys(step, stage, slot);
          rows.CopyValues(0, step, stage, slot + 1);
        },
        body);
  }
};

}  // namespace tfjs_lla
