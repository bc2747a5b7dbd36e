// The smallest kernel that the op library's launch of softmax attention can start: it proves the way from JavaScript to
// the GPU and back. One warp per query, one key at a time.
#include "softmax_attention/native/softmax_params.h"

using tfjs_lla::SoftmaxForwardParams;

constexpr int kQueriesPerBlock = 4;
constexpr int kLanes = 32;
constexpr int kMostPerLane = 8;  // value dimensions to 256

__device__ float SumOverWarp(float x) {
  for (int step = kLanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

extern "C" __global__ void tfjs_lla_softmax_forward(const SoftmaxForwardParams p) {
  const int blocks_per_head = (p.queries + kQueriesPerBlock - 1) / kQueriesPerBlock;
  const int head = blockIdx.x / blocks_per_head;
  const int row = blockIdx.x % blocks_per_head * kQueriesPerBlock + threadIdx.x / kLanes;
  const int lane = threadIdx.x % kLanes;
  if (row >= p.queries) return;
  const long long query_row = static_cast<long long>(head) * p.queries + row;
  const float* query = p.query + query_row * p.dim;
  const int bound = p.causal ? min(p.keys, max(0, p.keys - p.queries + row + 1)) : p.keys;
  const float hidden = -__int_as_float(0x7f800000);
  float top = hidden, sum = 0, out[kMostPerLane] = {};
  for (int j = 0; j < bound; j++) {
    const long long key_row = static_cast<long long>(head) * p.keys + j;
    if (p.key_mask && !p.key_mask[static_cast<long long>(head / p.heads_per_batch) * p.keys + j]) continue;
    float score = 0;
    for (int d = lane; d < p.dim; d += kLanes) score += query[d] * p.key[key_row * p.dim + d];
    score = p.scale * SumOverWarp(score) + (p.key_bias ? p.key_bias[key_row] : 0);
    if (score == hidden) continue;
    const float next = fmaxf(top, score);
    const float kept = expf(top - next), weight = expf(score - next);
    top = next;
    sum = sum * kept + weight;
    for (int i = 0, d = lane; d < p.value_dim; i++, d += kLanes) {
      out[i] = out[i] * kept + weight * p.value[key_row * p.value_dim + d];
    }
  }
  for (int i = 0, d = lane; d < p.value_dim; i++, d += kLanes) {
    p.out[query_row * p.value_dim + d] = sum > 0 ? out[i] / sum : 0;
  }
}
