// A step of a cache: new tokens attend to what the cache holds and to each other, and are then written into it, in place.
#pragma once

#include "common/native/probe_options.h"

namespace tfjs_lla {

// A bias from here down hides its key.
constexpr float kHidingBias = -3.4e38f;

// Of softmax, Parallax and local linear attention. The token at position p stands in row p % capacity.
struct CacheStep {
  Problem problem;  // the new tokens: Tq = Tk, causal
  int64_t capacity;
  int64_t length;        // tokens that the cache holds
  int64_t total;         // position of the first new token
  int64_t window;        // positions that a row sees; 0: all
  float* cached_key;     // [heads, capacity, D]
  float* cached_value;   // [heads, capacity, Dv]
  float* cached_bias;    // [heads, capacity], null: zeros
};

// `out` is [heads, t, Dv]; `options.probe` holds the probes that are given.
TFJS_LLA_DECLARE(ProbeStep, const CacheStep&, const ProbeOptions& options, float* out, Executor&)

}  // namespace tfjs_lla
