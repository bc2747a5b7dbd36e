// A step of an operator that keeps sums over its keys: rows against the sums and the new tokens, then the tokens' share of
// the sums, in place.
#pragma once

#include "common/cuda/prepare.cuh"
#include "common/cuda/state_step_params.h"

namespace tfjs_lla {

TFJS_LLA_DEVICE float Mapped(const StateStepParams& p, float x) {
  if (p.feature_map == kIdentityFeatures) return x;
  if (x > 0) return p.feature_map == kReluFeatures ? x : x + 1;
  return p.feature_map == kReluFeatures ? 0.0f : Exp2(x * kLog2E);
}

TFJS_LLA_DEVICE float SumOverWarp(float x) {
#pragma unroll
  for (int lanes = 1; lanes < kWarpSize; lanes *= 2) x += ShuffleXor(x, lanes);
  return x;
}

// New tokens of a head, from `first_row` on.
struct StateTokens {
  // What a token is. One that is hidden counts as nothing, whatever its numbers.
  enum Kind { kUsed, kHidden, kNotFinite };

  const StateStepParams& p;
  int head;
  long long first;  // row in [heads, tokens, ...]

  TFJS_LLA_DEVICE StateTokens(const StateStepParams& params, int of_head)
      : p(params), head(of_head), first(static_cast<long long>(of_head) * params.tokens + params.first_row) {}

  TFJS_LLA_DEVICE const float* Key(int j) const { return p.key + (first + j) * p.dim; }
  TFJS_LLA_DEVICE const float* Value(int j) const { return p.value + (first + j) * p.value_dim; }

  // Finds out what the first `number` tokens are, to `kinds`; all threads of the block.
  TFJS_LLA_DEVICE void Look(int number, int* kinds) const {
    const int lane = ThreadIndex() % kWarpSize;
    for (int j = ThreadIndex() / kWarpSize; j < number; j += kStateThreads / kWarpSize) {
      bool bad = false;
      for (int d = lane; d < p.dim; d += kWarpSize) bad |= !IsFinite(Key(j)[d]);
      for (int d = lane; d < p.value_dim; d += kWarpSize) bad |= !IsFinite(Value(j)[d]);
      const bool is_bad = AnyInWarp(bad);
      const long long mask_row = head / p.heads_per_batch;
      const bool hidden = p.key_mask && !p.key_mask[mask_row * p.tokens + p.first_row + j];
      if (lane == 0) kinds[j] = hidden ? kHidden : is_bad ? kNotFinite : kUsed;
    }
    SyncBlock();
  }

  // Visible keys up to the last of `number` tokens; NaN where one of them was not finite.
  TFJS_LLA_DEVICE float Count(int number, const int* kinds) const {
    float seen = p.count[head];
    for (int j = 0; j < number; j++) {
      if (kinds[j] != kHidden) seen = kinds[j] == kNotFinite ? FromBits(0x7fc00000) : seen + 1;
    }
    return seen;
  }
};

// out_i = factor phi(q_i)^T S_i, where the factor is one over phi(q_i) . z_i or the scale. Blocks: rows, heads.
TFJS_LLA_DEVICE void StateRow(const StateStepParams& p) {
  const int in_launch = static_cast<int>(BlockIndex() % p.rows), number = in_launch + 1;
  const StateTokens tokens(p, static_cast<int>(BlockIndex() / p.rows));
  const long long row = tokens.first + in_launch;
  const int thread = ThreadIndex(), lane = thread % kWarpSize, warp = thread / kWarpSize;
  float* const left = reinterpret_cast<float*>(SharedMemory());  // [dim]
  float* const products = left + p.dim;                          // [kMostStateTokens]
  float* const parts = products + kMostStateTokens;              // [kStateThreads]
  int* const kinds = reinterpret_cast<int*>(parts + kStateThreads);
  bool wrong = false;
  for (int d = thread; d < p.dim; d += kStateThreads) {
    const float x = p.query[row * p.dim + d];
    wrong |= !IsFinite(x);
    left[d] = Mapped(p, x);
  }
  wrong = AnyInBlock(wrong);
  tokens.Look(number, kinds);
  for (int j = warp; j < number; j += kStateThreads / kWarpSize) {
    float product = 0;
    if (kinds[j] == StateTokens::kUsed) {
      for (int d = lane; d < p.dim; d += kWarpSize) product += left[d] * Mapped(p, tokens.Key(j)[d]);
    }
    product = SumOverWarp(product);
    if (lane == 0) products[j] = product;
  }
  SyncBlock();
  float factor = p.scale;
  if (p.normalize) {
    // Every warp finds the same sum.
    float normalizer = 0;
    for (int d = lane; d < p.dim; d += kWarpSize) {
      normalizer += left[d] * p.left_sum[static_cast<long long>(tokens.head) * p.dim + d];
    }
    for (int j = lane; j < number; j += kWarpSize) normalizer += products[j];
    normalizer = SumOverWarp(normalizer);
    factor = normalizer == 0 ? 0.0f : 1 / normalizer;
  }
  const float seen = tokens.Count(number, kinds);
  const bool blind = seen == 0, bad = !blind && (wrong || !IsFinite(seen));
  int columns = 1;
  while (columns < p.value_dim && columns < kStateThreads) columns *= 2;
  const int groups = kStateThreads / columns, group = thread / columns;
  for (int first = 0; first < p.value_dim; first += columns) {
    const int d = first + thread % columns;
    float sum = 0;
    if (d < p.value_dim) {
      const float* const sums = p.key_value_sum + static_cast<long long>(tokens.head) * p.dim * p.value_dim + d;
#pragma unroll 8
      for (int r = group; r < p.dim; r += groups) sum += left[r] * sums[static_cast<long long>(r) * p.value_dim];
      for (int j = group; j < number; j += groups) {
        if (kinds[j] == StateTokens::kUsed) sum += products[j] * tokens.Value(j)[d];
      }
    }
    parts[thread] = sum;
    SyncBlock();
    if (group == 0 && d < p.value_dim) {
      for (int other = 1; other < groups; other++) sum += parts[other * columns + thread];
      p.out[row * p.value_dim + d] = bad ? FromBits(0x7fc00000) : blind ? 0.0f : sum * factor;
    }
    SyncBlock();
  }
}

// Adds tokens to the sums, a thread for each number. Blocks: numbers, heads.
TFJS_LLA_DEVICE void StateSums(const StateStepParams& p) {
  const int columns = p.left_columns + p.value_dim;
  const int blocks = (p.dim * columns + kStateThreads - 1) / kStateThreads;
  const StateTokens tokens(p, static_cast<int>(BlockIndex() / blocks));
  int* const kinds = reinterpret_cast<int*>(SharedMemory());  // [kMostStateTokens]
  tokens.Look(p.rows, kinds);
  const int at = static_cast<int>(BlockIndex() % blocks) * kStateThreads + ThreadIndex();
  const int r = at / columns, c = at % columns;
  if (r < p.dim) {
    const bool is_left = c < p.left_columns;
    float sum = 0;
    for (int j = 0; j < p.rows; j++) {
      if (kinds[j] != StateTokens::kUsed) continue;
      const float key = Mapped(p, tokens.Key(j)[r]);
      // The left sum of linear attention is one of keys, mesa's one of products of keys.
      const bool is_sum_of_keys = is_left && p.left_columns == 1;
      sum += is_sum_of_keys ? key : key * (is_left ? Mapped(p, tokens.Key(j)[c]) : tokens.Value(j)[c - p.left_columns]);
    }
    const long long row = static_cast<long long>(tokens.head) * p.dim + r;
    if (is_left) {
      p.left_sum[row * p.left_columns + c] += sum;
    } else {
      p.key_value_sum[row * p.value_dim + c - p.left_columns] += sum;
    }
  }
  if (at == 0) p.count[tokens.head] = tokens.Count(p.rows, kinds);
}

}  // namespace tfjs_lla
