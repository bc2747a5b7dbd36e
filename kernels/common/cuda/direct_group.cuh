// Eight query rows of a head as the direct solver has them: their weights over the keys, and products and sums of keys in
// double. What it solves for may be large where its products with keys are small.
#pragma once

#include "common/cuda/direct_shape.h"
#include "common/cuda/prepare.cuh"

namespace tfjs_lla {

enum DirectState { kAbsentRow, kBlindRow, kOrdinaryRow, kBadRow };

struct DirectInfo {
  int state;  // DirectState
  int bound;  // keys before it may be seen
  int wrong;  // 1: a number of the row is not finite
  float ridge;
  float top;             // largest base-2 exponent
  int refined;           // 1: the probe that is given is not precise enough
  double inverse_total;  // of the weights relative to it
  double shift[2];       // products of the mean key
  double mean_gamma, constant;  // of the gradient
};
static_assert(sizeof(DirectInfo) <= kDirectInfoBytes, "has its place in shared memory");

template <int kDim>
struct DirectGroup {
  using Shape = DirectShape<kDim>;
  static constexpr int kThreads = Shape::kThreads, kRows = Shape::kRows, kKeys = Shape::kKeys;
  static constexpr int kStride = Shape::kStride, kPerLane = kDim / kWarpSize;
  // Numbers of a tile of weights that a thread has: of the rows kRowStep apart from its own, of the same key.
  static constexpr int kRowStep = kThreads / kKeys;
  static constexpr int kOwn = kRows > kRowStep ? kRows / kRowStep : 1;
  using Own = double[kOwn];
  using Sums = double[kRows];

  const ProbeParams& p;
  char* shared;
  double* vectors[2];  // [kDim][kRows]
  double* mean;        // [kDim][kRows]: the mean key under a row's weights, minus the head's centre
  double* partial;     // sums of some threads
  double* weights;     // [kKeys][kRows]
  float *tile, *bias;  // [kKeys, kStride], [kKeys]
  DirectInfo* info;    // [kRows]
  int head, first_row, end;  // keys before `end` are seen by some row
  float* stored;             // [kRows, stored_stride]: exponents, then weights, of all keys
  long long stored_stride;

  TFJS_LLA_DEVICE DirectGroup(const ProbeParams& params) : p(params), shared(SharedMemory()) {
    vectors[0] = reinterpret_cast<double*>(shared);
    vectors[1] = vectors[0] + kDim * kRows;
    mean = reinterpret_cast<double*>(shared + Shape::kMeanOffset);
    partial = reinterpret_cast<double*>(shared + Shape::kPartialOffset);
    weights = reinterpret_cast<double*>(shared + Shape::kWeightOffset);
    tile = reinterpret_cast<float*>(shared + Shape::kTileOffset);
    bias = reinterpret_cast<float*>(shared + Shape::kBiasOffset);
    info = reinterpret_cast<DirectInfo*>(shared + Shape::kInfoOffset);
    stored_stride = static_cast<long long>(p.key_tiles_per_head) * kTileKeys;
    stored = p.direct.weights + BlockIndex() * kRows * stored_stride;
  }

  TFJS_LLA_DEVICE int Bound(int of_row) const {
    if (!p.causal) return p.keys;
    const int bound = p.keys - p.queries + of_row + 1;
    return bound < 0 ? 0 : bound < p.keys ? bound : p.keys;
  }

  TFJS_LLA_DEVICE long long RowIndex(int r) const { return static_cast<long long>(head) * p.queries + first_row + r; }

  // Calls body() for every group of rows that this block has; the longest rows of a causal call come first. Where few rows are
  // direct, a thread looks at a group each.
  template <class Body>
  TFJS_LLA_DEVICE void ForEachGroup(Body body) {
    const long long groups = static_cast<long long>((p.queries + kRows - 1) / kRows) * p.heads, step = p.direct.blocks;
    for (long long base = BlockIndex(); base < groups; base += step * kThreads) {
      const long long own = base + ThreadIndex() * step;
      if (own < groups) Enter(own);
      bool any = false;
      for (int r = 0; own < groups && r < kRows; r++) any |= IsWanted(r);
      if (!AnyInBlock(any)) continue;
      for (long long group = base; group < groups && group < base + step * kThreads; group += step) {
        Enter(group);
        const bool wanted = IsWanted(ThreadIndex() % kRows);
        // Also: nobody reads what the group before has left in shared memory any more.
        if (!AnyInBlock(wanted)) continue;
        if (ThreadIndex() < kRows) LoadInfo(ThreadIndex(), wanted);
        SyncBlock();
        body();
      }
    }
  }

  TFJS_LLA_DEVICE void Enter(long long group) {
    head = static_cast<int>(group % p.heads);
    first_row = ((p.queries + kRows - 1) / kRows - 1 - static_cast<int>(group / p.heads)) * kRows;
    end = Bound((first_row + kRows < p.queries ? first_row + kRows : p.queries) - 1);
  }

  TFJS_LLA_DEVICE bool IsWanted(int r) const {
    return first_row + r < p.queries && (p.direct.use == kAllDirect || p.direct.rows[RowIndex(r)] == kDirect);
  }

  TFJS_LLA_DEVICE void LoadInfo(int r, bool wanted) {
    const HeadSummary summary = p.summary[head];
    DirectInfo row = {};
    row.bound = wanted ? Bound(first_row + r) : 0;
    row.ridge = wanted && p.ridge ? p.ridge[RowIndex(r)] : p.ridge_value;
    row.state = !wanted                              ? kAbsentRow
                : summary.first_visible >= row.bound ? kBlindRow
                : summary.first_bad < row.bound      ? kBadRow
                                                     : kOrdinaryRow;
    row.wrong = !(row.ridge > 0 && IsFinite(row.ridge));
    if (row.wrong) row.ridge = 1;
    info[r] = row;
  }

  // Loads rows of [heads, queries, width]. A number that is not finite becomes zero and makes its row bad.
  TFJS_LLA_DEVICE void LoadVectors(double* target, const float* matrix, int width) {
    for (int at = ThreadIndex(); at < kDim * kRows; at += kThreads) {
      const int r = at / kDim, d = at % kDim;
      float x = info[r].state != kAbsentRow && d < width ? matrix[RowIndex(r) * width + d] : 0.0f;
      if (!IsFinite(x)) {
        info[r].wrong = 1;
        x = 0;
      }
      target[d * kRows + r] = x;
    }
    SyncBlock();
    const int r = ThreadIndex();
    if (r < kRows && info[r].wrong && info[r].state == kOrdinaryRow) info[r].state = kBadRow;
    SyncBlock();
  }

  // Keys minus the head's centre, or a slice of the values, as they are staged. What is not finite counts as zero:
  // whoever sees it is bad anyway.
  TFJS_LLA_DEVICE void Stage(float* target, const float* matrix, int width, int slice, bool of_keys, int first) const {
    for (int at = ThreadIndex(); at < kKeys * kDim; at += kThreads) {
      const int j = at / kDim, d = at % kDim, column = slice * kDim + d;
      float x = 0;
      if (first + j < p.keys && column < width) {
        x = matrix[(static_cast<long long>(head) * p.keys + first + j) * width + column];
        if (of_keys) x -= p.centre[head * kDim + d];
        if (!IsFinite(x)) x = 0;
      }
      target[j * kStride + d] = x;
    }
  }

  TFJS_LLA_DEVICE void StageKeys(int first) const { Stage(tile, p.key, p.dim, 0, true, first); }
  TFJS_LLA_DEVICE void StageValues(int slice, int first) const { Stage(tile, p.value, p.value_dim, slice, false, first); }

  // What is added to the exponents of the staged keys.
  TFJS_LLA_DEVICE void StageBias(int first) const {
    if (ThreadIndex() >= kKeys) return;
    const KeyState key = StateOfKey(p, head, first + ThreadIndex());
    bias[ThreadIndex()] = !key.visible ? kHiddenScore : key.finite ? key.bias * kLog2E : 0.0f;
  }

  // Calls body(first) for every tile of keys, with nobody in the one before.
  template <class Body>
  TFJS_LLA_DEVICE void ForEachTile(Body body) const {
    for (int first = 0; first < end; first += kKeys) {
      SyncBlock();
      body(first);
    }
    SyncBlock();
  }

  // Calls body(i, r, j) for the numbers of a tile of weights that this thread has.
  template <class Body>
  TFJS_LLA_DEVICE static void ForOwn(Body body) {
#pragma unroll
    for (int i = 0; i < kOwn; i++) {
      const int r = ThreadIndex() / kKeys + i * kRowStep;
      if (r < kRows) body(i, r, ThreadIndex() % kKeys);
    }
  }

  // Calls body(i, r, j, product) with the products of every row's vector and the staged keys or values, for what this thread has.
  template <class Body>
  TFJS_LLA_DEVICE void ForEachProduct(const float* from, const double* vector, Body body) const {
    constexpr int kParts = kThreads / kKeys, kPartDims = kDim / kParts;
    const int own = ThreadIndex() % kKeys, part = ThreadIndex() / kKeys;
    Sums sum;
#pragma unroll
    for (int r = 0; r < kRows; r++) sum[r] = 0;
#pragma unroll 4
    for (int d = part * kPartDims; d < (part + 1) * kPartDims; d++) {
      const double number = from[own * kStride + d];
#pragma unroll
      for (int r = 0; r < kRows; r++) sum[r] += vector[d * kRows + r] * number;
    }
#pragma unroll
    for (int r = 0; r < kRows; r++) partial[(part * kRows + r) * kKeys + own] = sum[r];
    SyncBlock();
    ForOwn([&](int i, int r, int j) {
      double product = 0;
#pragma unroll
      for (int a = 0; a < kParts; a++) product += partial[(a * kRows + r) * kKeys + j];
      body(i, r, j, product);
    });
  }

  TFJS_LLA_DEVICE static void Clear(Sums& sums) {
#pragma unroll
    for (int r = 0; r < kRows; r++) sums[r] = 0;
  }

  // sums += weights of the staged keys times them, for one dimension and some of the keys.
  TFJS_LLA_DEVICE void AddStaged(Sums& sums) const {
    constexpr int kParts = kThreads / kDim;
    const int d = ThreadIndex() % kDim;
#pragma unroll 4
    for (int j = ThreadIndex() / kDim; j < kKeys; j += kParts) {
      const double number = tile[j * kStride + d];
#pragma unroll
      for (int r = 0; r < kRows; r++) sums[r] += weights[j * kRows + r] * number;
    }
  }

  // Calls body(r, d, sum) once for every row and dimension.
  template <class Body>
  TFJS_LLA_DEVICE void FinishSums(const Sums& sums, Body body) const {
    constexpr int kParts = kThreads / kDim;
    const int own = ThreadIndex() % kDim, part = ThreadIndex() / kDim;
#pragma unroll
    for (int r = 0; r < kRows; r++) partial[(part * kRows + r) * kDim + own] = sums[r];
    SyncBlock();
    for (int at = ThreadIndex(); at < kRows * kDim; at += kThreads) {
      double sum = 0;
#pragma unroll
      for (int a = 0; a < kParts; a++) sum += partial[a * kRows * kDim + at];
      body(at / kDim, at % kDim, sum);
    }
    SyncBlock();
  }

  // Reduces what threads have of each row, and calls body(r, result) once a row.
  template <class Join, class Body>
  TFJS_LLA_DEVICE void ReduceOwn(const Own& own, Join join, Body body) const {
    ForOwn([&](int i, int r, int j) { partial[r * kKeys + j] = own[i]; });
    SyncBlock();
    const int r = ThreadIndex();
    if (r < kRows) {
      double all = partial[r * kKeys];
      for (int j = 1; j < kKeys; j++) all = join(all, partial[r * kKeys + j]);
      body(r, all);
    }
    SyncBlock();
  }

  TFJS_LLA_DEVICE float& Stored(int r, int j) const { return stored[r * stored_stride + j]; }

  // The weights of all keys, relative to the largest, and the mean key. The queries are in vectors[0].
  TFJS_LLA_DEVICE void FindWeights() {
    Own most, total;
    for (int i = 0; i < kOwn; i++) {
      most[i] = kHiddenScore;
      total[i] = 0;
    }
    const double unit = static_cast<double>(p.scale) * kLog2E;
    ForEachTile([&](int first) {
      StageKeys(first);
      StageBias(first);
      SyncBlock();
      ForEachProduct(tile, vectors[0], [&](int i, int r, int j, double product) {
        const bool seen = first + j < info[r].bound && bias[j] != kHiddenScore;
        const float exponent = seen ? static_cast<float>(product * unit + bias[j]) : kHiddenScore;
        if (exponent > most[i]) most[i] = exponent;
        Stored(r, first + j) = exponent;
      });
    });
    ReduceOwn(
        most, [](double a, double b) { return a > b ? a : b; },
        [&](int r, double top) { info[r].top = static_cast<float>(top); });
    Sums sums;
    Clear(sums);
    ForEachTile([&](int first) {
      StageKeys(first);
      ForOwn([&](int i, int r, int j) {
        const float exponent = Stored(r, first + j);
        const float weight = exponent == kHiddenScore ? 0.0f : Exp2(exponent - info[r].top);
        Stored(r, first + j) = weight;
        weights[j * kRows + r] = weight;
        total[i] += weight;
      });
      SyncBlock();
      AddStaged(sums);
    });
    ReduceOwn(
        total, [](double a, double b) { return a + b; },
        [&](int r, double all) { info[r].inverse_total = all > 0 ? 1 / all : 0.0; });
    FinishSums(sums, [&](int r, int d, double sum) { mean[d * kRows + r] = sum * info[r].inverse_total; });
  }

  // shift[which] = mean key . vectors[which], for every row.
  TFJS_LLA_DEVICE void FindShift(int which) {
    const int r = ThreadIndex() / kWarpSize, lane = ThreadIndex() % kWarpSize;
    double sum = 0;
    for (int d = lane; d < kDim; d += kWarpSize) sum += mean[d * kRows + r] * vectors[which][d * kRows + r];
    sum = SumOverWarp(sum);
    if (lane == 0) info[r].shift[which] = sum;
    SyncBlock();
  }

  TFJS_LLA_DEVICE static double SumOverWarp(double x) {
#pragma unroll
    for (int lanes = 1; lanes < kWarpSize; lanes *= 2) x += ShuffleXor(x, lanes);
    return x;
  }

  // Writes a number of a row of an output: NaN in bad rows, zero in those that see no key.
  TFJS_LLA_DEVICE void Store(float* matrix, int width, int r, int column, double x) const {
    const int state = info[r].state;
    if (state == kAbsentRow || column >= width) return;
    matrix[RowIndex(r) * width + column] = state == kOrdinaryRow ? static_cast<float>(x)
                                           : state == kBadRow    ? FromBits(0x7fc00000)
                                                                 : 0.0f;
  }
};

}  // namespace tfjs_lla
