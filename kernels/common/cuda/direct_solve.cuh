// Solves (C + ridge I) x = b for the rows of a group. C is formed and factored in float32; since rounding then takes more
// than a small ridge is worth, the factor preconditions conjugate gradient in double, with C applied to the keys as they are:
// one or two iterations where a plain solution would have done, a few more where it would not.
#pragma once

#include "common/cuda/direct_group.cuh"

namespace tfjs_lla {

// The error at which a row stops, relative to its solution, in the norm of its system: of a solution, and of what is added to a
// rounded one; and iterations at most.
constexpr double kDirectError = 1e-9;
constexpr double kDirectErrorOfRest = 1e-4;
constexpr int kMostDirectIterations = 32;

template <int kDim>
struct DirectSolver {
  using Group = DirectGroup<kDim>;
  static constexpr int kThreads = Group::kThreads, kRows = Group::kRows, kKeys = Group::kKeys;
  static constexpr int kPerLane = kDim / kWarpSize;
  static constexpr int kEdge = 8;  // of the blocks of C that a thread forms
  using Vector = double[kPerLane];
  using FloatVector = float[kPerLane];

  Group& group;
  int n, row, lane;  // size of the systems; the row of this warp, and the lane
  float* factor;     // of that row: R of C + ridge I = R^T R, its upper triangle by rows

  TFJS_LLA_DEVICE DirectSolver(Group& g) : group(g) {
    n = (g.p.dim + kEdge - 1) / kEdge * kEdge;
    row = ThreadIndex() / kWarpSize;
    lane = ThreadIndex() % kWarpSize;
    factor = FactorOf(row);
  }

  // Solves for the right-hand sides in vectors[1], which become the solutions; vectors[0] is used up.
  TFJS_LLA_DEVICE void Solve() {
    for (int r = 0; r < kRows; r++) {
      if (group.info[r].state == kOrdinaryRow) FormCovariance(r);
    }
    SyncBlock();
    if (group.info[row].state == kOrdinaryRow) Factor();
    Iterate(kDirectError);
  }

  // C times the vectors in vectors[0], whose products with the mean key are known; replaces them.
  TFJS_LLA_DEVICE void ApplyCovariance() {
    typename Group::Sums sums;
    Group::Clear(sums);
    group.ForEachTile([&](int first) {
      group.StageKeys(first);
      SyncBlock();
      group.ForEachProduct(group.tile, group.vectors[0], [&](int, int r, int j, double product) {
        const double weight = group.Stored(r, first + j) * group.info[r].inverse_total;
        group.weights[j * kRows + r] = weight * (product - group.info[r].shift[0]);
      });
      SyncBlock();
      group.AddStaged(sums);
    });
    group.FinishSums(sums, [&](int r, int d, double sum) { group.vectors[0][d * kRows + r] = sum; });
  }

  // Preconditioned conjugate gradient, every warp on its row, all in step: the passes over the keys are the block's. Right-hand
  // sides in vectors[1] become solutions; the factors are there.
  TFJS_LLA_DEVICE void Iterate(double error) {
    Vector x, residual, direction;
    FloatVector z;
#pragma unroll
    for (int m = 0; m < kPerLane; m++) {
      residual[m] = Element(group.vectors[1], m);
      x[m] = direction[m] = 0;
      z[m] = 0;
    }
    const double squared = Dot(residual, residual);
    bool more = group.info[row].state == kOrdinaryRow && squared > 0;
    const double length = more ? Sqrt(squared) : 0.0;
    double product = 0, target = 0;
    if (more) {
#pragma unroll
      for (int m = 0; m < kPerLane; m++) residual[m] *= 1 / length;
      ApplyInverse(residual, z);
      product = Dot(z, residual);
      target = product * (error * error);
#pragma unroll
      for (int m = 0; m < kPerLane; m++) direction[m] = z[m];
    }
    for (int iteration = 0; iteration < kMostDirectIterations; iteration++) {
      SyncBlock();
#pragma unroll
      for (int m = 0; m < kPerLane; m++) Element(group.vectors[0], m) = more ? direction[m] : 0.0;
      if (!AnyInBlock(more)) break;
      group.FindShift(0);
      ApplyCovariance();
      if (more) more = Step(x, residual, direction, z, product, target);
    }
#pragma unroll
    for (int m = 0; m < kPerLane; m++) Element(group.vectors[1], m) = x[m] * length;
    SyncBlock();
  }

 private:
  TFJS_LLA_DEVICE float* FactorOf(int r) const {
    return group.p.direct.factors + (BlockIndex() * kRows + r) * (static_cast<long long>(n) * (n + 1) / 2);
  }

  // Element (k, 0) of a packed triangle, as if it were there.
  TFJS_LLA_DEVICE int RowStart(int k) const { return k * n - k * (k + 1) / 2; }

  // C of row r times the sum of its weights, to its factor's place. A thread forms a block of 8 x 8 numbers, of some of the
  // keys where there are fewer blocks than threads.
  TFJS_LLA_DEVICE void FormCovariance(int r) {
    const int edge = n / kEdge, blocks = edge * (edge + 1) / 2;
    const int shares = blocks < kThreads ? kThreads / blocks : 1, share = shares > 1 ? ThreadIndex() / blocks : 0;
    float* const target = FactorOf(r);
    float* const y = group.tile;  // [kKeys, kDim]
    float* const weight = reinterpret_cast<float*>(group.weights);
    float* const shift = reinterpret_cast<float*>(group.partial);  // [kDim]: what is taken off each key
    for (int d = ThreadIndex(); d < kDim; d += kThreads) {
      shift[d] = static_cast<float>(group.p.centre[group.head * kDim + d] + group.mean[d * kRows + r]);
    }
    for (int first_block = 0; first_block < blocks; first_block += kThreads) {
      const int block = shares > 1 ? ThreadIndex() % blocks : first_block + ThreadIndex();
      const bool works = share < shares && block < blocks;
      int a = 0, left = works ? block : 0;
      while (left >= edge - a) left -= edge - a++;
      const int b = a + left;
      float sum[kEdge][kEdge];
#pragma unroll
      for (int i = 0; i < kEdge; i++) {
#pragma unroll
        for (int k = 0; k < kEdge; k++) sum[i][k] = 0;
      }
      group.ForEachTile([&](int first) {
        StageCentred(r, first, shift, y, weight);
        SyncBlock();
        if (!works) return;
        const int count = group.info[r].bound - first < kKeys ? group.info[r].bound - first : kKeys;
        for (int j = share; j < count; j += shares) AddProducts(y + j * kDim, weight[j], a, b, sum);
      });
      for (int s = 0; s < shares; s++) {
        if (works && s == share) {
#pragma unroll
          for (int i = 0; i < kEdge; i++) {
#pragma unroll
            for (int k = 0; k < kEdge; k++) {
              const int at_row = a * kEdge + i, at = RowStart(at_row) + b * kEdge + k;
              if (b * kEdge + k >= at_row) target[at] = (s > 0 ? target[at] : 0.0f) + sum[i][k];
            }
          }
        }
        SyncBlock();
      }
    }
  }

  // Keys minus about the row's mean, and their weights.
  TFJS_LLA_DEVICE void StageCentred(int r, int first, const float* shift, float* y, float* weight) const {
    const ProbeParams& p = group.p;
    for (int at = ThreadIndex(); at < kKeys * kDim; at += kThreads) {
      const int j = at / kDim, d = at % kDim;
      float x = 0;
      if (first + j < p.keys && d < p.dim) {
        const long long key = static_cast<long long>(group.head) * p.keys + first + j;
        x = p.key[key * p.dim + d] - shift[d];
        if (!IsFinite(x)) x = 0;
      }
      y[at] = x;
    }
    if (ThreadIndex() < kKeys) weight[ThreadIndex()] = group.Stored(r, first + ThreadIndex());
  }

  TFJS_LLA_DEVICE static void AddProducts(const float* y, float weight, int a, int b, float (&sum)[kEdge][kEdge]) {
    float left[kEdge], right[kEdge];
    LoadEdge(y + a * kEdge, left);
    LoadEdge(y + b * kEdge, right);
#pragma unroll
    for (int i = 0; i < kEdge; i++) {
      const float weighted = weight * left[i];
#pragma unroll
      for (int k = 0; k < kEdge; k++) sum[i][k] += weighted * right[k];
    }
  }

  TFJS_LLA_DEVICE static void LoadEdge(const float* from, float (&x)[kEdge]) {
    const float4 low = *reinterpret_cast<const float4*>(from), high = *reinterpret_cast<const float4*>(from + 4);
    x[0] = low.x;
    x[1] = low.y;
    x[2] = low.z;
    x[3] = low.w;
    x[4] = high.x;
    x[5] = high.y;
    x[6] = high.z;
    x[7] = high.w;
  }

  // Cholesky, row by row, by one warp; a row's numbers are in registers. No pivot is below the smallest eigenvalue, which is at
  // least the ridge; only rounding can go below it.
  TFJS_LLA_DEVICE void Factor() {
    const float ridge = group.info[row].ridge, inverse_total = static_cast<float>(group.info[row].inverse_total);
#pragma unroll
    for (int part = 0; part < kPerLane; part++) {
      for (int of = 0; of < kWarpSize; of++) {
        const int k = part * kWarpSize + of;
        if (k >= n) break;
        FloatVector x;
#pragma unroll
        for (int m = part; m < kPerLane; m++) {
          const int i = m * kWarpSize + lane;
          x[m] = i >= k && i < n ? factor[RowStart(k) + i] * inverse_total : 0.0f;
          if (i == k) x[m] += ridge;
        }
#pragma unroll 4
        for (int q = 0; q < k; q++) {
          const float* const above = factor + RowStart(q);
          const float share = above[k];
#pragma unroll
          for (int m = part; m < kPerLane; m++) {
            const int i = m * kWarpSize + lane;
            if (i >= k && i < n) x[m] -= share * above[i];
          }
        }
        const float inverse = 1 / Sqrt(Max(Shuffle(x[part], of), ridge));
#pragma unroll
        for (int m = part; m < kPerLane; m++) {
          const int i = m * kWarpSize + lane;
          // The diagonal holds its inverse: only that is asked for.
          if (i >= k && i < n) factor[RowStart(k) + i] = i == k ? inverse : x[m] * inverse;
        }
        SyncWarp();
      }
    }
  }

  // z = (R^T R)^-1 b
  TFJS_LLA_DEVICE void ApplyInverse(const Vector& b, FloatVector& z) const {
#pragma unroll
    for (int m = 0; m < kPerLane; m++) z[m] = static_cast<float>(b[m]);
#pragma unroll
    for (int part = 0; part < kPerLane; part++) {
      for (int of = 0; of < kWarpSize; of++) {
        const int k = part * kWarpSize + of;
        if (k >= n) break;
        const float* const at = factor + RowStart(k);
        const float solved = Shuffle(z[part], of) * at[k];
#pragma unroll
        for (int m = part; m < kPerLane; m++) {
          const int i = m * kWarpSize + lane;
          if (i > k && i < n) z[m] -= at[i] * solved;
          if (i == k) z[m] = solved;
        }
      }
    }
#pragma unroll
    for (int part = kPerLane - 1; part >= 0; part--) {
      for (int of = kWarpSize - 1; of >= 0; of--) {
        const int k = part * kWarpSize + of;
        if (k >= n) continue;
        const float* const at = factor + RowStart(k);
        float sum = 0;
#pragma unroll
        for (int m = part; m < kPerLane; m++) {
          const int i = m * kWarpSize + lane;
          if (i > k && i < n) sum += at[i] * z[m];
        }
#pragma unroll
        for (int lanes = 1; lanes < kWarpSize; lanes *= 2) sum += ShuffleXor(sum, lanes);
        if (lane == of) z[part] = (z[part] - sum) * at[k];
      }
    }
  }

  TFJS_LLA_DEVICE static double Dot(const Vector& x, const Vector& y) {
    double sum = 0;
#pragma unroll
    for (int m = 0; m < kPerLane; m++) sum += x[m] * y[m];
    return Group::SumOverWarp(sum);
  }

  TFJS_LLA_DEVICE static double Dot(const FloatVector& x, const Vector& y) {
    double sum = 0;
#pragma unroll
    for (int m = 0; m < kPerLane; m++) sum += x[m] * y[m];
    return Group::SumOverWarp(sum);
  }

  TFJS_LLA_DEVICE double& Element(double* vectors, int m) const {
    return vectors[(m * kWarpSize + lane) * kRows + row];
  }

  // One step of the iteration, given C times the direction. Returns whether another one is worth it.
  TFJS_LLA_DEVICE bool Step(Vector& x, Vector& residual, Vector& direction, FloatVector& z, double& product,
                            double target) const {
    const double ridge = group.info[row].ridge;
    Vector image, before;
#pragma unroll
    for (int m = 0; m < kPerLane; m++) {
      image[m] = Element(group.vectors[0], m) + ridge * direction[m];
      before[m] = residual[m];
    }
    const double curvature = Dot(direction, image);
    if (!(curvature > 0)) return false;
    const double alpha = product / curvature;
#pragma unroll
    for (int m = 0; m < kPerLane; m++) {
      x[m] += alpha * direction[m];
      residual[m] -= alpha * image[m];
    }
    ApplyInverse(residual, z);
    const double next = Dot(z, residual);
    if (!(next > target)) return false;
    // The factor's rounding makes it another one each time: hence not the short form of beta.
    const double beta = (next - Dot(z, before)) / product;
#pragma unroll
    for (int m = 0; m < kPerLane; m++) direction[m] = z[m] + beta * direction[m];
    product = next;
    return true;
  }
};

}  // namespace tfjs_lla
