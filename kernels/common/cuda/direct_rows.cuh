// Which rows of a call that iterates are left to the direct solver, under `auto`: those with a small ridge, and those that
// missed their tolerance.
#pragma once

#include "common/cuda/statistics.cuh"

namespace tfjs_lla {

// A ridge below this times the variance of the head's keys (operator README, numerics).
constexpr float kSmallRidge = 0.01f;

// Above this base-2 exponent, of a score of 20, one key has nearly all of a row's weight: what is left of its difference from
// the mean key is too little for split half precision.
constexpr float kLargeExponent = 20 * kLog2E;

// One block per head and range of keys, after the centre is known: the share of the range in the variance of the head's keys.
template <int kDim>
TFJS_LLA_DEVICE void FindVariance(const ProbeParams& p) {
  const int head = static_cast<int>(BlockIndex() / p.key_ranges), range = static_cast<int>(BlockIndex() % p.key_ranges);
  const int warp = ThreadIndex() / kWarpSize, lane = ThreadIndex() % kWarpSize;
  const int first = range * p.keys_per_range;
  const int end = first + p.keys_per_range < p.keys ? first + p.keys_per_range : p.keys;
  float squares = 0, number = 0;
  for (int j = first + warp; j < end; j += kPrepareThreads / kWarpSize) {
    if (!StateOfKey(p, head, j).visible) continue;
    const float* key = p.key + (static_cast<long long>(head) * p.keys + j) * p.dim;
    if (lane == 0) number++;
    for (int d = lane; d < p.dim; d += kWarpSize) {
      const float difference = key[d] - p.centre[head * kDim + d];
      if (IsFinite(difference)) squares += difference * difference;
    }
  }
  float* shared = reinterpret_cast<float*>(SharedMemory());
  shared[ThreadIndex()] = squares;
  shared[kPrepareThreads + ThreadIndex()] = number;
  SyncBlock();
  if (ThreadIndex() >= 2) return;
  float sum = 0;
  for (int t = 0; t < kPrepareThreads; t++) sum += shared[ThreadIndex() * kPrepareThreads + t];
  p.direct.variance[BlockIndex() * 2 + ThreadIndex()] = sum;
}

// Mean over dimensions of the variance of a head's visible keys. All lanes of a warp ask together.
TFJS_LLA_DEVICE float VarianceOfKeys(const ProbeParams& p, int head) {
  const float* parts = p.direct.variance + static_cast<long long>(head) * p.key_ranges * 2;
  float squares = 0, number = 0;
  for (int r = ThreadIndex() % kWarpSize; r < p.key_ranges; r += kWarpSize) {
    squares += parts[2 * r];
    number += parts[2 * r + 1];
  }
#pragma unroll
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) {
    squares += ShuffleXor(squares, lanes);
    number += ShuffleXor(number, lanes);
  }
  return number > 0 ? squares / (number * static_cast<float>(p.dim)) : 0.0f;
}

// The choice for a thread's two rows. Around a solve: `Leave` takes rows out that need not be tried, `Finish` those that missed;
// from then on the rows that are left to the direct solver count as if they saw no key.
template <class Rows>
struct RowsForDirect {
  Rows& rows;
  bool left[2];

  TFJS_LLA_DEVICE explicit RowsForDirect(Rows& r) : rows(r) { left[0] = left[1] = false; }

  TFJS_LLA_DEVICE bool Asked() const { return rows.p.direct.use == kMissedDirect; }

  // Zeros the right-hand sides of rows that are not to be iterated.
  TFJS_LLA_DEVICE void Leave(const float (&ridge)[2], const RowStatistics& statistics, typename Rows::Sums& right) {
    if (!Asked()) return;
    const float smallest = kSmallRidge * VarianceOfKeys(rows.p, rows.head);
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const bool large = Rows::kHigh && statistics.top[r] > kLargeExponent;
      left[r] = rows.ordinary[r] && (large || ridge[r] < smallest);
    }
    Clear(right);
  }

  // Zeros the solutions of rows that are left.
  TFJS_LLA_DEVICE void Finish(const bool (&missed)[2], typename Rows::Sums& solution) {
    if (!Asked()) return;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      left[r] |= rows.ordinary[r] && missed[r];
      if (left[r]) rows.ordinary[r] = false;
      if (rows.exists[r] && ThreadIndex() % 4 == 0) rows.p.direct.rows[rows.RowIndex(r)] = left[r] ? kDirect : kNotDirect;
    }
    Clear(solution);
  }

 private:
  TFJS_LLA_DEVICE void Clear(typename Rows::Sums& x) const {
#pragma unroll
    for (int n = 0; n < Rows::kDim / 8; n++) {
#pragma unroll
      for (int e = 0; e < 4; e++) {
        if (left[e / 2]) x[n][e] = 0;
      }
    }
  }
};

}  // namespace tfjs_lla
