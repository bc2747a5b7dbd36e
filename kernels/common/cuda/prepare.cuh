// What comes before the attention kernels: a summary of each head, and its keys and values as tiles in half precision,
// made safe to multiply by zero (docs/decisions/0002).
#pragma once

#include "common/cuda/finite.cuh"
#include "common/cuda/probe_params.h"
#include "common/cuda/tiles.cuh"

namespace tfjs_lla {

constexpr int kPrepareThreads = 128;

// The score of a hidden key: its weight is zero next to any other.
constexpr float kHiddenScore = -1e30f;
constexpr float kLog2E = 1.4426950408889634f;

struct KeyState {
  bool visible, finite;
  float bias;
};

// Whether masks and bias show a key; `finite` is of the bias only.
TFJS_LLA_DEVICE KeyState StateOfKey(const ProbeParams& p, int head, int j) {
  KeyState state = {j < p.keys, true, 0.0f};
  if (!state.visible) return state;
  const long long mask_row = head / p.heads_per_batch;
  if (p.key_mask && !p.key_mask[mask_row * p.keys + j]) state.visible = false;
  if (p.key_bias) state.bias = p.key_bias[static_cast<long long>(head) * p.keys + j];
  state.finite = IsFinite(state.bias);
  if (!state.finite && state.bias < 0) state.visible = false;
  return state;
}

TFJS_LLA_DEVICE int RangeBytes(int padded_dim) { return static_cast<int>(sizeof(RangeSummary)) + padded_dim * 4 + 12; }

TFJS_LLA_DEVICE float MaxOverWarp(float x) {
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) x = Max(x, ShuffleXor(x, lanes));
  return x;
}

TFJS_LLA_DEVICE void Combine(RangeSummary& all, const RangeSummary& other) {
  all.largest_key = Max(all.largest_key, other.largest_key);
  all.largest_value = Max(all.largest_value, other.largest_value);
  all.visible += other.visible;
  if (other.first_visible < all.first_visible) all.first_visible = other.first_visible;
  if (other.first_bad < all.first_bad) all.first_bad = other.first_bad;
}

// One block per head and range of keys. A warp takes every fourth group of keys, whose rows it loads together: there are
// enough loads on the way to keep the memory busy.
template <int kDim>
TFJS_LLA_DEVICE void SummarizeRange(const ProbeParams& p) {
  constexpr int kWarps = kPrepareThreads / kWarpSize, kPerLane = (kDim + kWarpSize - 1) / kWarpSize;
  constexpr int kGroup = kPerLane <= 2 ? 8 : 4;
  const int head = static_cast<int>(BlockIndex() / p.key_ranges), range = static_cast<int>(BlockIndex() % p.key_ranges);
  const int warp = ThreadIndex() / kWarpSize, lane = ThreadIndex() % kWarpSize;
  const int first = range * p.keys_per_range;
  const int end = first + p.keys_per_range < p.keys ? first + p.keys_per_range : p.keys;
  float sum[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; i++) sum[i] = 0;
  // The largest numbers are those of this lane until the end.
  RangeSummary summary = {0, 0, 0, p.keys, p.keys};
  for (int j = first + warp * kGroup; j < end; j += kWarps * kGroup) {
    // Every address is in bounds, none is behind a branch: all loads are on their way before the first is used.
    long long row[kGroup];
    float key[kGroup][kPerLane], largest_value[kGroup];
    bool bad[kGroup];
#pragma unroll
    for (int u = 0; u < kGroup; u++) {
      row[u] = static_cast<long long>(head) * p.keys + (j + u < end ? j + u : end - 1);
      bad[u] = false;
      largest_value[u] = 0;
#pragma unroll
      for (int i = 0; i < kPerLane; i++) {
        const int d = lane + i * kWarpSize;
        key[u][i] = p.key[row[u] * p.dim + (d < p.dim ? d : 0)];
      }
    }
    for (int d = 0; d < p.value_dim; d += kPerLane * kWarpSize) {
      float value[kGroup][kPerLane];
#pragma unroll
      for (int u = 0; u < kGroup; u++) {
#pragma unroll
        for (int i = 0; i < kPerLane; i++) {
          const int column = d + lane + i * kWarpSize;
          value[u][i] = p.value[row[u] * p.value_dim + (column < p.value_dim ? column : 0)];
        }
      }
#pragma unroll
      for (int u = 0; u < kGroup; u++) {
#pragma unroll
        for (int i = 0; i < kPerLane; i++) {
          bad[u] |= !IsFinite(value[u][i]);
          largest_value[u] = Max(largest_value[u], Max(value[u][i], -value[u][i]));
        }
      }
    }
#pragma unroll
    for (int u = 0; u < kGroup; u++) {
#pragma unroll
      for (int i = 0; i < kPerLane; i++) bad[u] |= !IsFinite(key[u][i]);
    }
#pragma unroll
    for (int u = 0; u < kGroup; u++) {
      if (j + u >= end) continue;
      const KeyState state = StateOfKey(p, head, j + u);
      if (!state.visible) continue;
      if (j + u < summary.first_visible) summary.first_visible = j + u;
      if (AnyInWarp(bad[u]) || !state.finite) {
        if (j + u < summary.first_bad) summary.first_bad = j + u;
        continue;
      }
      summary.visible++;
      summary.largest_value = Max(summary.largest_value, largest_value[u]);
#pragma unroll
      for (int i = 0; i < kPerLane; i++) {
        summary.largest_key = Max(summary.largest_key, Max(key[u][i], -key[u][i]));
        sum[i] += key[u][i];
      }
    }
  }
  summary.largest_key = MaxOverWarp(summary.largest_key);
  summary.largest_value = MaxOverWarp(summary.largest_value);
  // [warps][RangeSummary, sums]
  char* shared = SharedMemory();
  const int stride = RangeBytes(kDim);
  RangeSummary* mine = reinterpret_cast<RangeSummary*>(shared + warp * stride);
  if (lane == 0) *mine = summary;
#pragma unroll
  for (int i = 0; i < kPerLane; i++) {
    const int d = lane + i * kWarpSize;
    if (d < kDim) reinterpret_cast<float*>(mine + 1)[d] = d < p.dim ? sum[i] : 0.0f;
  }
  SyncBlock();
  RangeSummary* out = reinterpret_cast<RangeSummary*>(p.ranges + BlockIndex() * stride);
  for (int d = ThreadIndex(); d < kDim; d += kPrepareThreads) {
    float total = 0;
    for (int w = 0; w < kWarps; w++)
      total += reinterpret_cast<const float*>(shared + w * stride + sizeof(RangeSummary))[d];
    reinterpret_cast<float*>(out + 1)[d] = total;
  }
  if (ThreadIndex() == 0) {
    for (int w = 1; w < kWarps; w++) Combine(summary, *reinterpret_cast<const RangeSummary*>(shared + w * stride));
    *out = summary;
  }
}

// One block per head: adds its ranges up. Any one vector may be subtracted from all keys of a head; their mean takes
// out the largest rounding errors.
template <int kDim>
TFJS_LLA_DEVICE void SummarizeHead(const ProbeParams& p) {
  const int head = static_cast<int>(BlockIndex()), stride = RangeBytes(kDim);
  const char* ranges = p.ranges + static_cast<long long>(head) * p.key_ranges * stride;
  RangeSummary all = {0, 0, 0, p.keys, p.keys};
  for (int r = ThreadIndex() % kWarpSize; r < p.key_ranges; r += kWarpSize) {
    Combine(all, *reinterpret_cast<const RangeSummary*>(ranges + r * stride));
  }
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) {
    const auto other = [&](int word) { return Bits(ShuffleXor(FromBits(word), lanes)); };
    Combine(all, {ShuffleXor(all.largest_key, lanes), ShuffleXor(all.largest_value, lanes), other(all.visible),
                  other(all.first_visible), other(all.first_bad)});
  }
  for (int d = ThreadIndex(); d < kDim; d += BlockThreads()) {
    float sum = 0;
#pragma unroll 16
    for (int r = 0; r < p.key_ranges; r++) {
      sum += reinterpret_cast<const float*>(ranges + r * stride + sizeof(RangeSummary))[d];
    }
    p.centre[head * kDim + d] = all.visible > 0 ? sum / static_cast<float>(all.visible) : 0.0f;
  }
  if (ThreadIndex() == 0) {
    HeadSummary summary;
    summary.first_visible = all.first_visible;
    summary.first_bad = all.first_bad;
    summary.all_visible = all.visible == p.keys && p.key_bias == nullptr;
    // A key minus the mean is at most twice as large as the largest.
    summary.key_unit = 2 * UnitFor(all.largest_key);
    // Of zeros any unit will do; it is a factor of units that others are divided by.
    summary.value_unit = UnitFor(all.largest_value > 0 ? all.largest_value : 1.0f);
    p.summary[head] = summary;
  }
}

// One block per head, tile of keys and slice: slice 0 makes the tile of keys and their bias, slice i the one of value
// dimensions (i - 1) kDim .. . A thread makes 8 numbers at a time.
template <int kDim>
TFJS_LLA_DEVICE void MakeTiles(const ProbeParams& p) {
  long long block = BlockIndex();
  const int tile = static_cast<int>(block % p.key_tiles_per_head);
  block /= p.key_tiles_per_head;
  const int head = static_cast<int>(block % p.heads), slice = static_cast<int>(block / p.heads) - 1;
  const bool of_keys = slice < 0;
  const HeadSummary summary = p.summary[head];
  const float inverse = 1.0f / (of_keys ? summary.key_unit : summary.value_unit);
  const int width = of_keys ? p.dim : p.value_dim, first_column = of_keys ? 0 : slice * kDim;
  const float* source = of_keys ? p.key : p.value;
  const long long index = of_keys
                              ? static_cast<long long>(head) * p.key_tiles_per_head + tile
                              : (static_cast<long long>(head) * p.value_slices + slice) * p.key_tiles_per_head + tile;
  char* target = (of_keys ? p.key_tiles : p.value_tiles) + index * kTileBytes<kDim>;
  // A key that is not finite counts as zeros: whoever sees it is NaN anyway. 1: the row's numbers are used.
  int* used = reinterpret_cast<int*>(SharedMemory());
  for (int row = ThreadIndex() / kWarpSize; row < kTileKeys; row += kPrepareThreads / kWarpSize) {
    const int j = tile * kTileKeys + row;
    const KeyState state = StateOfKey(p, head, j);
    bool finite = state.finite;
    if (state.visible && summary.first_bad < p.keys) {
      const long long at = static_cast<long long>(head) * p.keys + j;
      finite = IsFiniteRow(p.key + at * p.dim, p.dim) && finite;
      finite = IsFiniteRow(p.value + at * p.value_dim, p.value_dim) && finite;
    }
    if (ThreadIndex() % kWarpSize != 0) continue;
    used[row] = state.visible && finite;
    if (of_keys) {
      const long long at = static_cast<long long>(head) * p.key_tiles_per_head * kTileKeys + j;
      p.bias[at] = !state.visible ? kHiddenScore : finite ? state.bias * kLog2E : 0.0f;
    }
  }
  SyncBlock();
  const bool aligned = (reinterpret_cast<unsigned long long>(source) & 15) == 0 && width % 4 == 0;
  for (int i = ThreadIndex(); i < kTileKeys * (kDim / 8); i += kPrepareThreads) {
    const int row = i / (kDim / 8), chunk = i % (kDim / 8), column = first_column + chunk * 8;
    const float* from = source + (static_cast<long long>(head) * p.keys + tile * kTileKeys + row) * width;
    float x[8];
    if (aligned && used[row] && column + 8 <= width) {
      const float4 first = reinterpret_cast<const float4*>(from + column)[0], second = reinterpret_cast<const float4*>(from + column)[1];
      const float numbers[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
#pragma unroll
      for (int d = 0; d < 8; d++) x[d] = numbers[d];
    } else {
#pragma unroll
      for (int d = 0; d < 8; d++) x[d] = used[row] && column + d < width ? from[column + d] : 0.0f;
    }
#pragma unroll
    for (int d = 0; d < 8; d++) {
      const float centre = of_keys && column + d < width ? p.centre[head * kDim + column + d] : 0.0f;
      x[d] = used[row] && column + d < width ? (x[d] - centre) * inverse : 0.0f;
    }
    uint4 high;
    high.x = PackHalf2(x[0], x[1]);
    high.y = PackHalf2(x[2], x[3]);
    high.z = PackHalf2(x[4], x[5]);
    high.w = PackHalf2(x[6], x[7]);
    char* at = target + ChunkOffset<kDim, kTileKeys>(row, chunk);
    *reinterpret_cast<uint4*>(at) = high;
    if (tile >= p.low_tiles) continue;
    uint4 low;
    low.x = LowPart(high.x, x[0], x[1]);
    low.y = LowPart(high.y, x[2], x[3]);
    low.z = LowPart(high.z, x[4], x[5]);
    low.w = LowPart(high.w, x[6], x[7]);
    *reinterpret_cast<uint4*>(at + kTileBytes<kDim> / 2) = low;
  }
}

}  // namespace tfjs_lla
