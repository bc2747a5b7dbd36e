// One head's keys and values, made safe to multiply by zero (docs/decisions/0002), as kernels/common/cpu/head.ts does.
#pragma once

#include "common/native/matrix.h"
#include "common/native/problem.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// Keys that are worked on together: 64 keys of 64 numbers are 16 KiB, half of a first-level cache.
constexpr int64_t kBlockK = 64;

// A score that no visible key has: its weight is zero.
constexpr float kHidden = -3.0e38f;

enum RowState : uint8_t { kOrdinary = 0, kBlind = 1, kBad = 2 };

inline int64_t BlocksOf(int64_t keys) { return (keys + kBlockK - 1) / kBlockK; }

struct Head {
  // Set up once, by Place.
  const Problem* problem;
  int64_t D, Dv;           // padded
  int64_t keys;            // Tk, padded to whole blocks
  float* key;              // [keys, D], minus `centre` where centred; zeros where hidden or not finite
  float* key_columns;      // [keys / kBlockK, D, kBlockK]: the same, by columns
  float* value;            // [keys, Dv]
  float* value_columns;    // [keys / kBlockK, Dv, kBlockK], null where no gradient is asked for
  float* bias;             // [keys], kHidden where a key is hidden
  float* centre;           // [D]
  // Of the loaded head; the variance where it is centred.
  int64_t first_bad;
  int64_t first_visible;
  double variance;

  static int64_t Floats(const Dims& dims, bool gradient) {
    const int64_t D = Padded(dims.D), Dv = Padded(dims.Dv), keys = BlocksOf(dims.Tk) * kBlockK;
    return keys * (2 * D + (gradient ? 2 : 1) * Dv + 1) + D;
  }

  void Place(const Problem& p, bool gradient, float* memory) {
    problem = &p;
    D = Padded(p.dims.D);
    Dv = Padded(p.dims.Dv);
    keys = BlocksOf(p.dims.Tk) * kBlockK;
    key = memory;
    key_columns = key + keys * D;
    value = key_columns + keys * D;
    value_columns = gradient ? value + keys * Dv : nullptr;
    bias = value + keys * Dv * (gradient ? 2 : 1);
    centre = bias + keys;
  }

  bool Visible(int64_t j) const { return bias[j] != kHidden; }

  int64_t Bound(int64_t row) const { return VisibleKeys(problem->dims, problem->causal, row); }

  // What a row comes out as, given whether its own numbers are finite.
  RowState StateOf(int64_t row, bool finite) const {
    const int64_t bound = Bound(row);
    if (first_visible >= bound) return kBlind;
    return finite && first_bad >= bound ? kOrdinary : kBad;
  }

  // A head of the operators that do not change when all keys are shifted.
  void LoadHead(int64_t head) {
    LoadNumbers(head);
    Centre();
    Finish();
  }

  // Keys and values; `key` may be changed until `Finish`.
  void LoadNumbers(int64_t head) {
    const Dims& dims = problem->dims;
    const int64_t mask_row = head / (dims.heads / dims.batch) * dims.Tk;
    first_bad = first_visible = dims.Tk;
    Zero(key, keys * D);
    Zero(value, keys * Dv);
    for (int64_t j = 0; j < keys; j++) bias[j] = kHidden;
    for (int64_t j = 0; j < dims.Tk; j++) {
      const float b = problem->key_bias ? problem->key_bias[head * dims.Tk + j] : 0.0f;
      const bool hidden_by_bias = !IsFinite(b) && b < 0;
      if ((problem->key_mask && !problem->key_mask[mask_row + j]) || hidden_by_bias) continue;
      first_visible = Min(first_visible, j);
      bool finite = IsFinite(b);
      finite &= CopyFinite(problem->key + (head * dims.Tk + j) * dims.D, key + j * D, dims.D);
      finite &= CopyFinite(problem->value + (head * dims.Tk + j) * dims.Dv, value + j * Dv, dims.Dv);
      bias[j] = finite ? b : 0.0f;
      if (finite) continue;
      Zero(key + j * D, D);
      Zero(value + j * Dv, Dv);
      first_bad = Min(first_bad, j);
    }
  }

  void Finish() {
    Transpose(key, D, key_columns);
    if (value_columns) Transpose(value, Dv, value_columns);
  }

 private:
  // Any one vector may be subtracted from every key: it takes out rounding errors and changes nothing else.
  void Centre() {
    const Dims& dims = problem->dims;
    int64_t count = 0;
    for (int64_t j = 0; j < dims.Tk; j++) count += Visible(j);
    variance = 0;
    Zero(centre, D);
    if (count == 0) return;
    for (int64_t d = 0; d < dims.D; d++) {
      double sum = 0;
      for (int64_t j = 0; j < dims.Tk; j++) sum += key[j * D + d];
      centre[d] = static_cast<float>(sum / count);
    }
    double squares = 0;
    for (int64_t j = 0; j < dims.Tk; j++) {
      if (!Visible(j)) continue;
      for (int64_t d = 0; d < dims.D; d++) key[j * D + d] -= centre[d];
      squares += Dot(key + j * D, key + j * D, D);
    }
    variance = squares / (static_cast<double>(count) * dims.D);
  }

  void Transpose(const float* rows, int64_t width, float* columns) const {
    for (int64_t first = 0; first < keys; first += kBlockK) {
      for (int64_t d = 0; d < width; d++) {
        for (int64_t j = 0; j < kBlockK; j++) columns[first * width + d * kBlockK + j] = rows[(first + j) * width + d];
      }
    }
  }
};

// Writes rows of scratch to an output: zeros for blind rows, NaN for bad ones.
inline void StoreRows(const RowState* state, int64_t count, const float* rows, int64_t stride, float* target,
                      int64_t width) {
  const float nan = __builtin_nanf("");
  for (int64_t r = 0; r < count; r++) {
    for (int64_t d = 0; d < width; d++) {
      target[r * width + d] = state[r] == kOrdinary ? rows[r * stride + d] : state[r] == kBad ? nan : 0.0f;
    }
  }
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
