// What the CUDA kernels of a step of linear and mesa attention take, whose caches hold sums over their keys: one struct, by
// value. Read by the compiler of the host and by CUDA's: plain types only.
#pragma once

#include "common/cuda/triangle_size.h"

namespace tfjs_lla {

enum StateFeatureMap { kEluPlusOneFeatures, kReluFeatures, kIdentityFeatures };

struct StateStepParams {
  const float* query;             // [heads, tokens, dim]
  const float* key;               // [heads, tokens, dim]
  const float* value;             // [heads, tokens, value_dim]
  const unsigned char* key_mask;  // [heads / heads_per_batch, tokens], null: every key is visible
  const float* ridge;             // mesa: [heads_per_batch, dim], null: `ridge_value` in every channel
  float* left_sum;                // [heads, dim, left_columns]: linear: sum phi(k); mesa: sum k k^T
  float* key_value_sum;           // [heads, dim, value_dim]: sum phi(k) v^T
  float* count;                   // [heads]: visible keys so far, NaN from the first one on that is not finite
  float* out;                     // [heads, tokens, value_dim]

  // Scratch of mesa attention.
  float* solved;     // [heads, tokens, dim]: (G + diag(ridge))^-1 q
  float* triangles;  // [heads, rows, TriangleFloats], null: in shared memory

  int heads, heads_per_batch, tokens;
  int first_row, rows;  // tokens of every head that this launch works on
  int dim, value_dim, left_columns;
  int feature_map;  // StateFeatureMap
  int normalize;    // 0 or 1
  float scale;      // where not normalised
  float ridge_value;
};

// Most new tokens that are handled at a time.
constexpr int kMostStateTokens = 64;

constexpr int kStateThreads = 256;

// Of the kernel that makes rows: left, products, tokens, parts of sums.
constexpr int StateRowBytes(int dim) { return (dim + 2 * kMostStateTokens + kStateThreads) * 4; }

}  // namespace tfjs_lla
