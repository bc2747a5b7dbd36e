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

// One warp per head: the smallest ridge that is not small.
TFJS_LLA_DEVICE void FindSmallestRidge(const ProbeParams& p) {
  const int head = static_cast<int>(BlockIndex());
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
  if (ThreadIndex() > 0) return;
  p.direct.smallest_ridge[head] = number > 0 ? kSmallRidge * squares / (number * static_cast<float>(p.dim)) : 0.0f;
}

// The choice for a thread's two rows, around a solve: first those that need not be tried, then those that missed. From then on
// rows that are left to the direct solver count as if they saw no key.
template <class Rows>
TFJS_LLA_DEVICE void LeaveRows(Rows& rows, const float (&ridge)[2], const RowStatistics& statistics) {
  if (rows.p.direct.use != kMissedDirect) return;
  const float smallest = rows.p.direct.smallest_ridge[rows.head];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const bool large = Rows::kHigh && statistics.top[r] > kLargeExponent;
    const bool left = rows.ordinary[r] && (large || ridge[r] < smallest);
    if (left) rows.ordinary[r] = false;
    if (rows.exists[r] && ThreadIndex() % 4 == 0) rows.p.direct.rows[rows.RowIndex(r)] = left ? kDirect : kNotDirect;
  }
}

template <class Rows>
TFJS_LLA_DEVICE void LeaveMissedRows(Rows& rows, const bool (&missed)[2]) {
  if (rows.p.direct.use != kMissedDirect) return;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    if (!rows.ordinary[r] || !missed[r]) continue;
    rows.ordinary[r] = false;
    if (ThreadIndex() % 4 == 0) rows.p.direct.rows[rows.RowIndex(r)] = kDirect;
  }
}

}  // namespace tfjs_lla
