// What a call of mesa attention computes, and what it gives.
#pragma once

#include "common/native/isa.h"
#include "common/native/problem.h"

namespace tfjs_lla {

struct MesaOptions {
  const float* ridge;  // [heads / batch, D], null: `ridge_value` in every channel
  float ridge_value;
};

struct MesaOutputs {
  float* out;    // [heads, Tq, Dv]
  float* probe;  // [heads, Tq, D]: the solutions x
};

struct MesaGradients {
  const float* probe;  // [heads, Tq, D], of the forward pass
  const float* dout;   // [heads, Tq, Dv]
  float* dquery;
  float* dkey;
  float* dvalue;
  float* dridge;  // [heads / batch, D], null: not asked for
};

TFJS_LLA_DECLARE(MesaAttention, const Problem&, const MesaOptions&, const MesaOutputs&, Executor&)
TFJS_LLA_DECLARE(MesaAttentionGradient, const Problem&, const MesaOptions&, const MesaGradients&, Executor&)

}  // namespace tfjs_lla
