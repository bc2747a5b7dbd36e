// What a step of linear and mesa attention is given: new tokens, and sums that it reads and replaces.
#pragma once

#include "common/native/problem.h"

namespace tfjs_lla {

struct StateStep {
  Problem problem;       // the new tokens: Tq = Tk, causal
  float* left_sum;       // linear: sum_j phi(k_j) [heads, D]; mesa: sum_j k_j k_j^T [heads, D, D]
  float* key_value_sum;  // [heads, D, Dv]
  float* count;          // [heads]: visible keys so far
};

}  // namespace tfjs_lla
