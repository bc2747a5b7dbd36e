// The keys of a step where they stand: in the cache, where they go round, and among the new ones.
#pragma once

#include "common/cuda/prepare.cuh"
#include "common/cuda/step_params.h"

namespace tfjs_lla {

// A bias from here down hides its key; what a hidden key's is stored as.
constexpr float kHidingBias = -3.4e38f;
constexpr float kStoredHidden = -3.402823466e38f;

// Keys that the centre is taken over at most: any one vector will do, so a few are enough.
constexpr int kCentreSample = 16;

// Less than any score, more than that of a hidden key.
constexpr float kLeastScore = -1e20f;

TFJS_LLA_DEVICE float4 ZeroQuad() {
  float4 x;
  x.x = x.y = x.z = x.w = 0;
  return x;
}

TFJS_LLA_DEVICE float Dot(const float4& a, const float4& b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }

TFJS_LLA_DEVICE bool IsFinite(const float4& x) {
  return IsFinite(x.x) && IsFinite(x.y) && IsFinite(x.z) && IsFinite(x.w);
}

TFJS_LLA_DEVICE void Scale(float4& x, float factor) {
  x.x *= factor;
  x.y *= factor;
  x.z *= factor;
  x.w *= factor;
}

// x += factor a
TFJS_LLA_DEVICE void AddScaled(float4& x, float factor, const float4& a) {
  x.x += factor * a.x;
  x.y += factor * a.y;
  x.z += factor * a.z;
  x.w += factor * a.w;
}

// Quad `index` of a row of `width` numbers; zeros beyond them.
TFJS_LLA_DEVICE float4 LoadQuad(const float* row, int index, int width) {
  const int first = 4 * index;
  if (width % 4 == 0) return first < width ? *reinterpret_cast<const float4*>(row + first) : ZeroQuad();
  float4 x;
  x.x = first < width ? row[first] : 0.0f;
  x.y = first + 1 < width ? row[first + 1] : 0.0f;
  x.z = first + 2 < width ? row[first + 2] : 0.0f;
  x.w = first + 3 < width ? row[first + 3] : 0.0f;
  return x;
}

struct StepKeys {
  const StepParams& p;
  int head, count;

  TFJS_LLA_DEVICE StepKeys(const StepParams& params, int of_head)
      : p(params), head(of_head), count(params.cached + params.new_keys) {}

  // The first key that a row sees, and the one after its last.
  TFJS_LLA_DEVICE int Lower(int row) const {
    const int lower = p.window > 0 ? Upper(row) - p.window : 0;
    return lower > 0 ? lower : 0;
  }
  TFJS_LLA_DEVICE int Upper(int row) const {
    if (!p.causal) return count;
    const int end = count - p.queries + row + 1;
    return end < 0 ? 0 : end < count ? end : count;
  }

  // The row of a matrix [heads, capacity, ...] in which a cached key stands, or that of [heads, new_keys, ...].
  TFJS_LLA_DEVICE long long Place(int j) const {
    if (j >= p.cached) return static_cast<long long>(head) * p.new_keys + (j - p.cached);
    const int slot = p.start + j;
    return static_cast<long long>(head) * p.capacity + (slot < p.capacity ? slot : slot - p.capacity);
  }
  TFJS_LLA_DEVICE const float* Key(int j, long long place) const {
    return (j < p.cached ? p.cached_key : p.key) + place * p.dim;
  }
  TFJS_LLA_DEVICE const float* Value(int j, long long place) const {
    return (j < p.cached ? p.cached_value : p.value) + place * p.value_dim;
  }

  // The bias of a new key; what hides it where a mask or a bias does.
  TFJS_LLA_DEVICE float NewBias(int i) const {
    const float bias = p.key_bias ? p.key_bias[static_cast<long long>(head) * p.new_keys + i] : 0.0f;
    const long long mask_row = head / p.heads_per_batch;
    const bool masked = p.key_mask && !p.key_mask[mask_row * p.new_keys + i];
    return masked || bias <= kHidingBias ? kStoredHidden : bias;
  }

  // Whether a key is to be seen; `finite` is of its bias only.
  TFJS_LLA_DEVICE KeyState State(int j, long long place) const {
    const float bias = j >= p.cached ? NewBias(j - p.cached) : p.cached_bias ? p.cached_bias[place] : 0.0f;
    KeyState state;
    state.visible = !(bias <= kHidingBias);
    state.finite = IsFinite(bias);
    // A bias far below every score: its key has no weight beside any other.
    state.bias = !state.finite ? 0.0f : bias < -1e19f ? -1e19f : bias;
    return state;
  }

  // The mean of a sample of the visible, finite keys of the head: `centre` [padded], zeros beyond `dim`. `used` has
  // room for kCentreSample numbers. All threads of the block; no key is read by fewer than a warp.
  TFJS_LLA_DEVICE void LoadCentre(float* centre, float* used, int padded) const {
    const int samples = count < kCentreSample ? count : kCentreSample;
    const int lane = ThreadIndex() % kWarpSize;
    for (int s = ThreadIndex() / kWarpSize; s < samples; s += BlockThreads() / kWarpSize) {
      const int j = Sample(s, samples);
      const long long place = Place(j);
      const KeyState state = State(j, place);
      bool bad = !state.visible || !state.finite;
      for (int d = lane; d < p.dim; d += kWarpSize) bad |= !IsFinite(Key(j, place)[d]);
      const bool is_bad = AnyInWarp(bad);
      if (lane == 0) used[s] = is_bad ? 0.0f : 1.0f;
    }
    SyncBlock();
    for (int d = ThreadIndex(); d < padded; d += BlockThreads()) {
      float sum = 0, number = 0;
      for (int s = 0; s < samples && d < p.dim; s++) {
        if (used[s] == 0) continue;
        const int j = Sample(s, samples);
        sum += Key(j, Place(j))[d];
        number += 1;
      }
      centre[d] = number > 0 ? sum / number : 0.0f;
    }
    SyncBlock();
  }

  // Writes new key `i` into the cache: one row of keys, values and, where there are any, biases.
  TFJS_LLA_DEVICE void Append(int i) const {
    if (i < p.first_new) return;
    const long long slot = (static_cast<long long>(p.start) + p.cached + i) % p.capacity;
    const long long to = static_cast<long long>(head) * p.capacity + slot;
    const long long from = static_cast<long long>(head) * p.new_keys + i;
    for (int d = ThreadIndex(); d < p.dim; d += BlockThreads()) p.cached_key[to * p.dim + d] = p.key[from * p.dim + d];
    for (int d = ThreadIndex(); d < p.value_dim; d += BlockThreads()) {
      p.cached_value[to * p.value_dim + d] = p.value[from * p.value_dim + d];
    }
    if (p.cached_bias && ThreadIndex() == 0) p.cached_bias[to] = NewBias(i);
  }

 private:
  TFJS_LLA_DEVICE int Sample(int s, int samples) const {
    return static_cast<int>(static_cast<long long>(s) * count / samples);
  }
};

}  // namespace tfjs_lla
