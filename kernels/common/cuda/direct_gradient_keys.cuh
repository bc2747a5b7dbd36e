// Gradient of the rows that were solved directly, by keys: adds to dkey, dvalue and dbias, or writes them where no row was
// iterated. Products of solutions and keys are made anew in double, and the rows come in their order: no atomics.
#pragma once

#include "common/cuda/direct_group.cuh"

namespace tfjs_lla {

template <class Shape>
struct DirectGradientKeys {
  static constexpr int kDim = Shape::kDim, kRows = Shape::kRows, kKeys = Shape::kKeys, kThreads = Shape::kThreads;
  // Keys of which a thread sums one dimension.
  static constexpr int kSummed = kKeys * kDim / kThreads;
  using Group = DirectGroup<kDim>;
  // What a row is multiplied by for a key: of score times query, eta times probe, tau times u and cotangent.
  enum Kind { kScore, kEta, kTau };

  const ProbeParams& p;
  Group group;  // of the rows that are being added
  float* values;
  float* kinds;  // [Kind][kRows][kKeys]
  int first_key;
  float dkey[kSummed], dvalue[kSummed];
  float dbias;

  TFJS_LLA_DEVICE DirectGradientKeys(const ProbeParams& params) : p(params), group(params) {
    values = reinterpret_cast<float*>(group.shared + Shape::kValueOffset);
    kinds = reinterpret_cast<float*>(group.shared + Shape::kWeightsOffset);
    group.head = static_cast<int>(BlockIndex() % p.heads);
    first_key = static_cast<int>(BlockIndex() / p.heads) * kKeys;
  }

  TFJS_LLA_DEVICE void Run() {
    group.StageKeys(first_key);
    group.Stage(values, p.value, p.value_dim, 0, false, first_key);
    group.StageBias(first_key);
    for (int i = 0; i < kSummed; i++) dkey[i] = dvalue[i] = 0;
    dbias = 0;
    int bad_bound = 0;
    // The first row that sees a key of the tile, at the start of a group.
    const int hidden = p.causal ? first_key - (p.keys - p.queries) : 0;
    const int begin = hidden > 0 ? hidden / kRows * kRows : 0;
    bool any = false;
    for (int first = begin; first < p.queries; first += kThreads) {
      // Far more rows than a group at a time: most calls have none.
      const int row = first + ThreadIndex();
      const int what = row < p.queries ? p.direct.rows[static_cast<long long>(group.head) * p.queries + row] : kNotDirect;
      if (what == kDirectBad && group.Bound(row) > bad_bound) bad_bound = group.Bound(row);
      if (!AnyInBlock(what == kDirect)) continue;
      any = true;
      for (int next = first; next < first + kThreads && next < p.queries; next += kRows) AddRows(next);
    }
    Store(bad_bound, any);
  }

 private:
  TFJS_LLA_DEVICE float& KindOf(Kind kind, int r, int j) const { return kinds[(kind * kRows + r) * kKeys + j]; }

  TFJS_LLA_DEVICE bool IsDirect(int r) const {
    return group.first_row + r < p.queries && p.direct.rows[group.RowIndex(r)] == kDirect;
  }

  // `rest` is added to the rows, if it is there.
  TFJS_LLA_DEVICE void LoadVectors(const float* matrix, int width, const float* rest = nullptr) {
    SyncBlock();
    for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) {
      const int r = at / kDim, d = at % kDim;
      double x = 0;
      if (IsDirect(r) && d < width) {
        const long long index = group.RowIndex(r) * width + d;
        x = matrix[index];
        if (rest) x += rest[index];
      }
      group.vectors[0][d * kRows + r] = x;
    }
    SyncBlock();
  }

  // Adds a group of rows.
  TFJS_LLA_DEVICE void AddRows(int first) {
    group.first_row = first;
    if (!AnyInBlock(IsDirect(ThreadIndex() % kRows))) return;
    const double unit = static_cast<double>(p.scale) * kLog2E;
    // Of the pairs of rows and keys that a thread has.
    typename Group::Own weight, tau, eta;
    LoadVectors(p.query, p.dim);
    group.ForEachProduct(group.tile, group.vectors[0], [&](int i, int r, int j, double product) {
      const bool seen = IsDirect(r) && first_key + j < group.Bound(first + r) && group.bias[j] != kHiddenScore;
      weight[i] = 0;
      if (!seen) return;
      const DirectRecord& record = RecordOf(r);
      weight[i] = Exp2(static_cast<float>(product * unit + group.bias[j] - record.top)) * record.inverse_total;
    });
    LoadVectors(p.probe, p.dim, p.direct.probe_rest);
    group.ForEachProduct(group.tile, group.vectors[0], [&](int i, int r, int, double product) {
      tau[i] = weight[i] > 0 ? 1 + (product - RecordOf(r).probe_shift) : 0.0;
    });
    LoadVectors(p.direct.u, p.dim, p.direct.u_rest);
    group.ForEachProduct(group.tile, group.vectors[0], [&](int i, int r, int, double product) {
      eta[i] = weight[i] > 0 ? RecordOf(r).u_shift - product : 0.0;
    });
    LoadVectors(p.dout, p.value_dim);
    group.ForEachProduct(values, group.vectors[0], [&](int i, int r, int j, double product) {
      const bool seen = weight[i] > 0;
      if (seen) eta[i] += product - RecordOf(r).mean_gamma;
      const double score = seen ? weight[i] * (tau[i] * eta[i] - RecordOf(r).constant) : 0.0;
      KindOf(kScore, r, j) = static_cast<float>(score);
      KindOf(kEta, r, j) = static_cast<float>(weight[i] * eta[i]);
      KindOf(kTau, r, j) = static_cast<float>(weight[i] * tau[i]);
    });
    SyncBlock();
    const int d = ThreadIndex() % kDim, own = ThreadIndex() / kDim * kSummed;
    for (int r = 0; r < kRows; r++) {
      if (!IsDirect(r)) continue;
      const long long row = group.RowIndex(r);
      const float query = d < p.dim ? p.query[row * p.dim + d] * p.scale : 0.0f;
      const float probe = d < p.dim ? p.probe[row * p.dim + d] : 0.0f;
      const float u = d < p.dim ? p.direct.u[row * p.dim + d] : 0.0f;
      const float cotangent = d < p.value_dim ? p.dout[row * p.value_dim + d] : 0.0f;
#pragma unroll
      for (int i = 0; i < kSummed; i++) {
        const float tau_weight = KindOf(kTau, r, own + i);
        dkey[i] += KindOf(kScore, r, own + i) * query + (KindOf(kEta, r, own + i) * probe - tau_weight * u);
        dvalue[i] += tau_weight * cotangent;
      }
      if (ThreadIndex() < kKeys) dbias += KindOf(kScore, r, ThreadIndex());
    }
  }

  TFJS_LLA_DEVICE const DirectRecord& RecordOf(int r) const { return p.direct.records[group.RowIndex(r)]; }

  TFJS_LLA_DEVICE void Store(int bad_bound, bool any) {
    // Where other rows were iterated, their sums are there, and so are NaN and zeros of hidden keys.
    const bool adds = p.direct.use != kAllDirect;
    if (adds && !any) return;
    int* const bounds = reinterpret_cast<int*>(group.partial);
    SyncBlock();
    bounds[ThreadIndex()] = bad_bound;
    SyncBlock();
    for (int t = 0; t < kThreads; t++) {
      if (bounds[t] > bad_bound) bad_bound = bounds[t];
    }
    const auto store = [&](float* target, int j, float x) {
      const bool visible = group.bias[j] != kHiddenScore, bad = first_key + j < bad_bound;
      if (adds) x += *target;
      *target = !visible ? 0.0f : bad ? FromBits(0x7fc00000) : x;
    };
    const int d = ThreadIndex() % kDim, own = ThreadIndex() / kDim * kSummed;
#pragma unroll
    for (int i = 0; i < kSummed; i++) {
      const int j = own + i;
      if (first_key + j >= p.keys) continue;
      const long long key = static_cast<long long>(group.head) * p.keys + first_key + j;
      if (d < p.dim) store(p.dkey + key * p.dim + d, j, dkey[i]);
      if (d < p.value_dim) store(p.dvalue + key * p.value_dim + d, j, dvalue[i]);
    }
    const int j = ThreadIndex();
    if (p.dbias && j < kKeys && first_key + j < p.keys) {
      store(p.dbias + static_cast<long long>(group.head) * p.keys + first_key + j, j, dbias);
    }
  }
};

}  // namespace tfjs_lla
