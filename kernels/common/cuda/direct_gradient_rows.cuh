// Gradient of the rows that are solved directly (operator README, exact gradient), by rows: dquery, dridge, and for every row
// what the gradient of keys needs of it.
#pragma once

#include "common/cuda/direct_solve.cuh"

namespace tfjs_lla {

// Products of probes and keys to this size are precise enough with the probe in float32.
constexpr double kLargeProduct = 100;

template <class Shape>
struct DirectGradientRows {
  static constexpr int kDim = Shape::kDim, kRows = Shape::kRows, kKeys = Shape::kKeys, kThreads = Shape::kThreads;
  using Group = DirectGroup<kDim>;

  const ProbeParams& p;
  Group group;
  DirectSolver<kDim> solver;
  double* gammas;  // [kRows, stored_stride]

  TFJS_LLA_DEVICE DirectGradientRows(const ProbeParams& params) : p(params), group(params), solver(group) {
    gammas = p.direct.gammas + BlockIndex() * kRows * group.stored_stride;
  }

  TFJS_LLA_DEVICE void Run() {
    group.ForEachGroup([&] {
      group.LoadVectors(group.vectors[1], p.probe, p.dim);
      group.LoadVectors(group.vectors[1], p.dout, p.value_dim);
      group.LoadVectors(group.vectors[0], p.query, p.dim);
      group.FindWeights();
      FindGammas();
      FindCorrelation();
      solver.Solve();
      StoreSolution();
      RefineProbe();
      group.FindShift(0);
      group.FindShift(1);
      FindConstant();
      WriteQueries();
      WriteRecords();
    });
  }

 private:
  TFJS_LLA_DEVICE double& Gamma(int r, int j) const { return gammas[r * group.stored_stride + j]; }

  // The gammas of all keys, and their mean. The cotangents are in vectors[1].
  TFJS_LLA_DEVICE void FindGammas() {
    typename Group::Own sum;
    for (int i = 0; i < Group::kOwn; i++) sum[i] = 0;
    group.ForEachTile([&](int first) {
      group.StageValues(0, first);
      SyncBlock();
      group.ForEachProduct(group.tile, group.vectors[1], [&](int i, int r, int j, double product) {
        Gamma(r, first + j) = product;
        sum[i] += group.Stored(r, first + j) * product;
      });
    });
    group.ReduceOwn(
        sum, [](double a, double b) { return a + b; },
        [&](int r, double all) { group.info[r].mean_gamma = all * group.info[r].inverse_total; });
  }

  // n = sum_j p_j (gamma_j - mean gamma) k_j, to vectors[1].
  TFJS_LLA_DEVICE void FindCorrelation() {
    typename Group::Sums sums;
    group.Clear(sums);
    group.ForEachTile([&](int first) {
      group.StageKeys(first);
      group.ForOwn([&](int, int r, int j) {
        const double gamma = Gamma(r, first + j) - group.info[r].mean_gamma;
        group.weights[j * kRows + r] = group.Stored(r, first + j) * group.info[r].inverse_total * gamma;
      });
      SyncBlock();
      group.AddStaged(sums);
    });
    group.FinishSums(sums, [&](int r, int d, double sum) {
      group.vectors[1][d * kRows + r] = group.info[r].state == kOrdinaryRow && d < p.dim ? sum : 0.0;
    });
  }

  // Writes u as two numbers each: eta, which it has a part in, may be small and the probe it is multiplied by large.
  TFJS_LLA_DEVICE void StoreSolution() {
    for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) {
      const int r = at / kDim, d = at % kDim;
      if (group.info[r].state == kAbsentRow || d >= p.dim) continue;
      const double u = group.vectors[1][d * kRows + r];
      const float rounded = static_cast<float>(u);
      const long long index = group.RowIndex(r) * p.dim + d;
      p.direct.u[index] = rounded;
      p.direct.u_rest[index] = static_cast<float>(u - rounded);
    }
    SyncBlock();
  }

  // The probe, to vectors[0], as the system has it: rounding what the forward pass found to float32 is felt where it is large.
  TFJS_LLA_DEVICE void RefineProbe() {
    group.LoadVectors(group.vectors[0], p.probe, p.dim);
    if (AnyInBlock(FindLarge())) FindRest();
    for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) {
      const int r = at / kDim, d = at % kDim;
      if (group.info[r].state != kOrdinaryRow || d >= p.dim) continue;
      const long long index = group.RowIndex(r) * p.dim + d;
      const float rest = group.info[r].refined ? p.direct.probe_rest[index] : 0.0f;
      p.direct.probe_rest[index] = rest;
      group.vectors[0][d * kRows + r] = static_cast<double>(p.probe[index]) + rest;
      group.vectors[1][d * kRows + r] = static_cast<double>(p.direct.u[index]) + p.direct.u_rest[index];
    }
    SyncBlock();
  }

  // Whether the probe of this warp's row has products with keys that are large.
  TFJS_LLA_DEVICE bool FindLarge() {
    const int r = ThreadIndex() / kWarpSize, lane = ThreadIndex() % kWarpSize;
    double squares = 0;
    for (int d = lane; d < kDim; d += kWarpSize) squares += group.vectors[0][d * kRows + r] * group.vectors[0][d * kRows + r];
    const double largest_key = 512 * p.summary[group.head].key_unit;
    const bool large = group.info[r].state == kOrdinaryRow &&
                       Group::SumOverWarp(squares) * largest_key * largest_key > kLargeProduct * kLargeProduct;
    if (lane == 0) group.info[r].refined = large;
    return large;
  }

  // What the probes in vectors[0] lack, where that is felt.
  TFJS_LLA_DEVICE void FindRest() {
    group.FindShift(0);
    solver.ApplyCovariance();
    for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) {
      const int r = at / kDim, d = at % kDim;
      double right = 0;
      if (group.info[r].refined && d < p.dim) {
        const long long index = group.RowIndex(r) * p.dim + d;
        right = static_cast<double>(p.query[index]) - p.centre[group.head * kDim + d] - group.mean[d * kRows + r];
        right -= group.vectors[0][d * kRows + r] + static_cast<double>(group.info[r].ridge) * p.probe[index];
      }
      group.vectors[1][d * kRows + r] = right;
    }
    SyncBlock();
    solver.Iterate(kDirectErrorOfRest);
    for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) {
      const int r = at / kDim, d = at % kDim;
      if (!group.info[r].refined || d >= p.dim) continue;
      p.direct.probe_rest[group.RowIndex(r) * p.dim + d] = static_cast<float>(group.vectors[1][d * kRows + r]);
    }
  }

  TFJS_LLA_DEVICE void FindConstant() {
    const int r = ThreadIndex() / kWarpSize, lane = ThreadIndex() % kWarpSize;
    double product = 0;
    for (int d = lane; d < kDim; d += kWarpSize) product += group.vectors[0][d * kRows + r] * group.vectors[1][d * kRows + r];
    product = Group::SumOverWarp(product);
    if (lane == 0) {
      group.info[r].constant = group.info[r].ridge * product;
      if (p.dridge) group.Store(p.dridge, 1, r, 0, -product);
    }
    SyncBlock();
  }

  TFJS_LLA_DEVICE void WriteQueries() {
    typename Group::Sums sums;
    group.Clear(sums);
    group.ForEachTile([&](int first) {
      group.StageKeys(first);
      SyncBlock();
      group.ForEachProduct(group.tile, group.vectors[0], [&](int, int r, int j, double product) {
        group.weights[j * kRows + r] = 1 + (product - group.info[r].shift[0]);
      });
      SyncBlock();
      group.ForEachProduct(group.tile, group.vectors[1], [&](int, int r, int j, double product) {
        const DirectInfo& row = group.info[r];
        double& weight = group.weights[j * kRows + r];
        const double eta = Gamma(r, first + j) - row.mean_gamma - (product - row.shift[1]);
        weight = group.Stored(r, first + j) * row.inverse_total * (weight * eta - row.constant);
      });
      SyncBlock();
      group.AddStaged(sums);
    });
    group.FinishSums(sums, [&](int r, int d, double sum) {
      group.Store(p.dquery, p.dim, r, d, p.scale * sum + group.vectors[1][d * kRows + r]);
    });
  }

  TFJS_LLA_DEVICE void WriteRecords() {
    const int r = ThreadIndex();
    if (r >= kRows || group.info[r].state == kAbsentRow) return;
    const DirectInfo& row = group.info[r];
    p.direct.records[group.RowIndex(r)] = {row.top,      row.inverse_total, row.mean_gamma,
                                           row.shift[0], row.shift[1],      row.constant};
    if (p.direct.use != kAllDirect) return;
    p.direct.rows[group.RowIndex(r)] = row.state == kOrdinaryRow ? kDirect : row.state == kBadRow ? kDirectBad : kNotDirect;
  }
};

}  // namespace tfjs_lla
