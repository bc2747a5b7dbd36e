// A step of linear and mesa attention, whose cache holds sums over the keys so far (src/caches).
#pragma once

#include "common/native/mixed.h"
#include "common/native/head.h"
#include "common/native/state_options.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// The new tokens of one head, one after the other, with what the cache holds of it in double.
struct StateRows {
  const StateStep* step;
  int64_t head, D, Dv, left;  // `left`: numbers of `left_sum`
  double *query, *key, *value;
  double *left_sum, *key_value_sum;
  double count;  // visible keys so far, NaN from the first on that is not finite

  static int64_t Doubles(const Dims& dims, int64_t left) { return 2 * dims.D + dims.Dv + left + dims.D * dims.Dv; }

  void Load(const StateStep& of, int64_t h, int64_t numbers, double* memory) {
    step = &of;
    head = h;
    D = of.problem.dims.D;
    Dv = of.problem.dims.Dv;
    left = numbers;
    query = memory;
    key = query + D;
    value = key + D;
    left_sum = value + Dv;
    key_value_sum = left_sum + left;
    for (int64_t i = 0; i < left; i++) left_sum[i] = of.left_sum[h * left + i];
    for (int64_t i = 0; i < D * Dv; i++) key_value_sum[i] = of.key_value_sum[h * D * Dv + i];
    count = of.count[h];
  }

  // Loads key and value of token `i`; whether they are to be added to the sums.
  bool LoadKey(int64_t i) {
    const Problem& problem = step->problem;
    const Dims& dims = problem.dims;
    const int64_t row = head * dims.Tk + i;
    if (problem.key_mask && !problem.key_mask[head / (dims.heads / dims.batch) * dims.Tk + i]) return false;
    bool finite = CopyWide(problem.key + row * D, key, D);
    finite &= CopyWide(problem.value + row * Dv, value, Dv);
    count += finite ? 1 : __builtin_nan("");
    return finite;
  }

  // Loads the query of token `i`, after its key; what its row comes out as.
  RowState LoadQuery(int64_t i) {
    const bool finite = CopyWide(step->problem.query + (head * step->problem.dims.Tq + i) * D, query, D);
    if (count == 0) return kBlind;
    return finite && count == count ? kOrdinary : kBad;
  }

  // sum += a b^T for a of D numbers.
  void AddOuter(double* sum, const double* a, const double* b, int64_t columns) const {
    for (int64_t d = 0; d < D; d++) AddScaled(sum + d * columns, a[d], b, columns);
  }

  // Writes row `i`: factor a^T key_value_sum; `value` is overwritten.
  void Write(RowState state, int64_t i, const double* a, double factor, float* out) const {
    float* target = out + (head * step->problem.dims.Tq + i) * Dv;
    Zero(value, Dv);
    if (state == kOrdinary) {
      for (int64_t d = 0; d < D; d++) AddScaled(value, a[d], key_value_sum + d * Dv, Dv);
    }
    for (int64_t d = 0; d < Dv; d++) {
      target[d] = state == kBad ? __builtin_nanf("") : static_cast<float>(factor * value[d]);
    }
  }

  // Puts the sums back into the cache.
  void Store() const {
    for (int64_t i = 0; i < left; i++) step->left_sum[head * left + i] = static_cast<float>(left_sum[i]);
    for (int64_t i = 0; i < D * Dv; i++) {
      step->key_value_sum[head * D * Dv + i] = static_cast<float>(key_value_sum[i]);
    }
    step->count[head] = static_cast<float>(count);
  }
};

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
