// What the CUDA kernel of softmax attention takes. Read by the C++ compiler of the host and by CUDA's: plain types only.
#pragma once

namespace tfjs_lla {

struct SoftmaxForwardParams {
  const float* query;             // [heads, queries, dim]
  const float* key;               // [heads, keys, dim]
  const float* value;             // [heads, keys, value_dim]
  const unsigned char* key_mask;  // [heads / heads_per_batch, keys], null: every key is visible
  const float* key_bias;          // [heads, keys], null: zeros
  float* out;                     // [heads, queries, value_dim]
  int heads, heads_per_batch, queries, keys, dim, value_dim;
  int causal;  // 0 or 1: query i sees the keys before keys - queries + i + 1
  int fast;    // 0 or 1: half-precision operands are precise enough
  float scale;
};

}  // namespace tfjs_lla
