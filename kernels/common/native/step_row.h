// One row of a step: its softmax weights over what it sees, read where it stands, in the cache and among the new keys.
#pragma once

#include <math.h>

#include "common/native/head.h"
#include "common/native/mixed.h"
#include "common/native/step_options.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// Keys that lie side by side.
struct KeyRange {
  const float* keys;
  const float* values;
  const float* biases;  // null: zeros
  int64_t count;
};

// What is added to the score of new key `j` of a head; hidden keys get the lowest number.
inline float NewBias(const Problem& problem, int64_t head, int64_t j) {
  const Dims& dims = problem.dims;
  const float bias = problem.key_bias ? problem.key_bias[head * dims.Tk + j] : 0.0f;
  const bool masked = problem.key_mask && !problem.key_mask[head / (dims.heads / dims.batch) * dims.Tk + j];
  return masked || bias <= kHidingBias ? -3.4028234663852886e38f : bias;
}

struct StepRow {
  const CacheStep* step;
  int64_t D, Dv;
  int64_t seen;          // keys that the row may see, hidden ones among them
  KeyRange ranges[3];    // older cached ones, those behind the wrap, new ones
  double *query, *out;   // [D], [Dv]
  double *weights, *products;  // [seen]: p_j, 0 where hidden
  bool* visible;         // [seen]
  float* new_bias;       // [t]

  static int64_t Most(const CacheStep& step) { return step.length + step.problem.dims.Tk; }

  static int64_t Doubles(const CacheStep& step) {
    const Dims& dims = step.problem.dims;
    return dims.D + dims.Dv + 2 * Most(step) + (Most(step) + 7) / 8 + (dims.Tk + 1) / 2;
  }

  void Place(const CacheStep& of, double* memory) {
    step = &of;
    D = of.problem.dims.D;
    Dv = of.problem.dims.Dv;
    query = memory;
    out = query + D;
    weights = out + Dv;
    products = weights + Most(of);
    new_bias = reinterpret_cast<float*>(products + Most(of));
    visible = reinterpret_cast<bool*>(products + Most(of) + (of.problem.dims.Tk + 1) / 2);
  }

  // Calls `body(j, key, value, bias)` for every key that the row may see.
  template <typename Body>
  void ForKeys(Body body) const {
    int64_t j = 0;
    for (const KeyRange& range : ranges) {
      for (int64_t r = 0; r < range.count; r++, j++) {
        body(j, range.keys + r * D, range.values + r * Dv, range.biases ? range.biases[r] : 0.0f);
      }
    }
  }

  // Loads row `i` of a head and finds its weights.
  RowState LoadRow(int64_t head, int64_t i) {
    const Problem& problem = step->problem;
    FindRanges(head, i);
    const bool finite = CopyWide(problem.query + (head * problem.dims.Tq + i) * D, query, D);
    return finite ? kOrdinary : kBad;
  }

  // Softmax of the scores; what the row comes out as.
  RowState Weigh(RowState loaded, double scale) {
    double largest = -INFINITY;
    bool sees = false, finite = loaded == kOrdinary;
    ForKeys([&](int64_t j, const float* key, const float*, float bias) {
      visible[j] = !(bias <= kHidingBias);
      if (!visible[j]) return;
      sees = true;
      weights[j] = scale * DotMixed(key, query, D) + bias;
      // Numbers of the type double that come from floats do not overflow: what is not finite was an input.
      finite &= weights[j] - weights[j] == 0;
      if (weights[j] > largest) largest = weights[j];
    });
    if (!sees) return kBlind;
    if (!finite) return kBad;
    double sum = 0;
    for (int64_t j = 0; j < seen; j++) {
      weights[j] = visible[j] ? exp(weights[j] - largest) : 0;
      sum += weights[j];
    }
    for (int64_t j = 0; j < seen; j++) weights[j] /= sum;
    return kOrdinary;
  }

  // products_j = k_j.x
  void Multiply(const double* x) const {
    ForKeys([&](int64_t j, const float* key, const float*, float) {
      products[j] = visible[j] ? DotMixed(key, x, D) : 0;
    });
  }

  // target += sum_j w_j k_j
  void AddKeys(const double* w, double* target) const {
    ForKeys([&](int64_t j, const float* key, const float*, float) {
      if (visible[j]) AddMixed(target, w[j], key, D);
    });
  }

  // sum_j p_j products_j
  double MeanProduct() const { return Dot(weights, products, seen); }

  // out = sum_j p_j tau_j v_j, tau_j = 1 + (k_j - kbar).x, or 1 without a probe; returns whether it is finite.
  bool Combine(const double* x) {
    double mean = 0;
    if (x) {
      Multiply(x);
      mean = MeanProduct();
    }
    Zero(out, Dv);
    ForKeys([&](int64_t j, const float*, const float* value, float) {
      if (visible[j]) AddMixed(out, x ? weights[j] * (1 + products[j] - mean) : weights[j], value, Dv);
    });
    bool finite = true;
    for (int64_t d = 0; d < Dv; d++) finite &= out[d] - out[d] == 0;
    return finite;
  }

 private:
  void FindRanges(int64_t head, int64_t i) {
    const Problem& problem = step->problem;
    const int64_t Tk = problem.dims.Tk, capacity = step->capacity, total = step->total;
    const int64_t oldest = step->window > 0 ? total + i - step->window + 1 : 0;
    const int64_t lowest = Max(total - step->length, oldest), cached = Max<int64_t>(0, total - lowest);
    const int64_t start = lowest % capacity, straight = Min(cached, capacity - start);
    const int64_t first_new = Max<int64_t>(0, lowest - total);
    seen = cached + i + 1 - first_new;
    ranges[0] = Cached(head * capacity + start, straight);
    ranges[1] = Cached(head * capacity, cached - straight);
    for (int64_t j = first_new; j <= i; j++) new_bias[j] = NewBias(problem, head, j);
    const int64_t row = head * Tk + first_new;
    ranges[2] = {problem.key + row * D, problem.value + row * Dv, new_bias + first_new, i + 1 - first_new};
  }

  KeyRange Cached(int64_t row, int64_t count) const {
    const float* biases = step->cached_bias ? step->cached_bias + row : nullptr;
    return {step->cached_key + row * D, step->cached_value + row * Dv, biases, count};
  }
};

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
