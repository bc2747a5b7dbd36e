// What tells the members of the family apart: softmax, Parallax and local linear attention are one formula,
// o = sum_j p_j (1 + y_j.x) v_j, and differ in where the probe x comes from.
#pragma once

#include "common/native/isa.h"
#include "common/native/problem.h"

namespace tfjs_lla {

enum class Solver { kAuto, kConjugateGradient, kDirect };

enum class ProbeKind {
  kNone,    // x = 0
  kGiven,   // x = -r for an input r
  kSolved,  // x = (C + ridge I)^-1 (q - kbar)
};

struct ProbeOptions {
  ProbeKind kind;
  float scale;
  bool fast;           // half-precision operands are precise enough; the processor's kernels have no use for them
  const float* probe;  // [heads, Tq, D]: r, or the x that the forward pass saved
  const float* ridge;  // [heads, Tq], null: `ridge_value` in every row
  float ridge_value;
  double tolerance;
  int64_t max_iterations;
  Solver solver;
};

struct ProbeOutputs {
  float* out;    // [heads, Tq, Dv]
  float* probe;  // [heads, Tq, D], only where it is solved
};

struct ProbeGradients {
  const float* dout;  // [heads, Tq, Dv]
  float* dquery;
  float* dkey;
  float* dvalue;
  float* dbias;   // [heads, Tk], null: not asked for
  float* dprobe;  // [heads, Tq, D], only where it is given
  float* dridge;  // [heads, Tq], null: not asked for
};

TFJS_LLA_DECLARE(ProbeAttention, const Problem&, const ProbeOptions&, const ProbeOutputs&, Executor&)
TFJS_LLA_DECLARE(ProbeAttentionGradient, const Problem&, const ProbeOptions&, const ProbeGradients&, Executor&)

}  // namespace tfjs_lla
