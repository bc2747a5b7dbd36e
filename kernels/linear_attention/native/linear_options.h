// What a call of linear attention computes, and what it gives.
#pragma once

#include "common/native/isa.h"
#include "common/native/problem.h"
#include "common/native/state_options.h"

namespace tfjs_lla {

enum class FeatureMap { kEluPlusOne, kRelu, kIdentity };

struct LinearOptions {
  FeatureMap feature_map;
  bool normalize;
  float scale;  // only where not normalised: it cancels otherwise
  bool fast;    // half-precision operands are precise enough; the processor's kernels have no use for them
};

struct LinearGradients {
  const float* dout;  // [heads, Tq, Dv]
  float* dquery;
  float* dkey;
  float* dvalue;
};

// `out` is [heads, Tq, Dv].
TFJS_LLA_DECLARE(LinearAttention, const Problem&, const LinearOptions&, float* out, Executor&)
TFJS_LLA_DECLARE(LinearAttentionGradient, const Problem&, const LinearOptions&, const LinearGradients&, Executor&)
TFJS_LLA_DECLARE(LinearStep, const StateStep&, const LinearOptions&, float* out, Executor&)

}  // namespace tfjs_lla
