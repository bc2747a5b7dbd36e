// Forward pass of local linear attention for the rows that are solved directly.
#pragma once

#include "common/cuda/direct_solve.cuh"

namespace tfjs_lla {

template <class Shape>
struct DirectForward {
  static constexpr int kDim = Shape::kDim, kRows = Shape::kRows, kKeys = Shape::kKeys, kThreads = Shape::kThreads;

  const ProbeParams& p;
  DirectGroup<kDim> group;
  DirectSolver<kDim> solver;

  TFJS_LLA_DEVICE DirectForward(const ProbeParams& params) : p(params), group(params), solver(group) {}

  TFJS_LLA_DEVICE void Run() {
    group.ForEachGroup([&] {
      group.LoadVectors(group.vectors[0], p.query, p.dim);
      for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) group.vectors[1][at] = group.vectors[0][at];
      group.FindWeights();
      FindRightSides();
      solver.Solve();
      group.FindShift(1);
      for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) {
        const int r = at / kDim, d = at % kDim;
        group.Store(p.probe_out, p.dim, r, d, group.vectors[1][d * kRows + r]);
      }
      WeighValues();
      for (int slice = 0; slice < p.value_slices; slice++) WriteSlice(slice);
    });
  }

 private:
  // q - kbar. The mean key has the head's centre taken off.
  TFJS_LLA_DEVICE void FindRightSides() {
    for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) {
      const int d = at / kRows, r = at % kRows;
      const bool ordinary = group.info[r].state == kOrdinaryRow && d < p.dim;
      const double query = group.vectors[1][at] - p.centre[group.head * kDim + d];
      group.vectors[1][at] = ordinary ? query - group.mean[at] : 0.0;
    }
    SyncBlock();
  }

  // The stored weights become p_j (1 + y_j . x).
  TFJS_LLA_DEVICE void WeighValues() {
    group.ForEachTile([&](int first) {
      group.StageKeys(first);
      SyncBlock();
      group.ForEachProduct(group.tile, group.vectors[1], [&](int, int r, int j, double product) {
        const double weight = group.Stored(r, first + j) * group.info[r].inverse_total;
        group.Stored(r, first + j) = static_cast<float>(weight * (1 + (product - group.info[r].shift[1])));
      });
    });
  }

  TFJS_LLA_DEVICE void WriteSlice(int slice) {
    typename DirectGroup<kDim>::Sums sums;
    group.Clear(sums);
    group.ForEachTile([&](int first) {
      group.StageValues(slice, first);
      group.ForOwn([&](int, int r, int j) { group.weights[j * kRows + r] = group.Stored(r, first + j); });
      SyncBlock();
      group.AddStaged(sums);
    });
    group.FinishSums(sums, [&](int r, int d, double sum) { group.Store(p.out, p.value_dim, r, slice * kDim + d, sum); });
  }
};

}  // namespace tfjs_lla
