// The softmax weights of a tile of query rows over the keys they see, and the mean key under them.
#pragma once

#include "common/native/head.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// Query rows that are worked on together: their weights over all keys stay in scratch.
constexpr int64_t kBlockQ = 32;

struct SoftmaxTile {
  const Head* head;
  float scale;
  int64_t stride;   // of rows over keys; not a power of two, so that rows do not share the sets of a cache
  float* query;     // [kBlockQ, D]; zeros in rows that are not ordinary
  float* scaled;    // [kBlockQ, D]
  float* weights;   // [kBlockQ, stride]: p_ij, 0 where row i does not see key j
  float* kbar;      // [kBlockQ, D]: sum_j p_ij k_j, relative to the head's centre
  RowState state[kBlockQ];
  int64_t top[kBlockQ];  // a key with the largest weight; 0 where a row sees none
  int64_t start, rows;
  int64_t blocks;   // of keys, up to the causal bound of the last row

  static int64_t Stride(const Dims& dims) { return BlocksOf(dims.Tk) * kBlockK + kPad; }

  static int64_t Floats(const Dims& dims) { return kBlockQ * (3 * Padded(dims.D) + Stride(dims)); }

  void Place(const Dims& dims, float scale_, float* memory) {
    const int64_t D = Padded(dims.D);
    scale = scale_;
    stride = Stride(dims);
    query = memory;
    scaled = query + kBlockQ * D;
    kbar = scaled + kBlockQ * D;
    weights = kbar + kBlockQ * D;
  }

  bool Ordinary(int64_t r) const { return state[r] == kOrdinary; }

  // Marks a row; its query becomes zeros, so that nothing of it reaches other rows or keys.
  void Mark(int64_t r, RowState to) {
    state[r] = to;
    Zero(query + r * head->D, head->D);
  }

  // Marks an ordinary row as bad where `finite` does not hold.
  void Require(int64_t r, bool finite) {
    if (!finite && Ordinary(r)) Mark(r, kBad);
  }

  // Loads rows start .. of head `index`, which `from` holds.
  void LoadRows(const Head& from, int64_t index, int64_t start_) {
    head = &from;
    start = start_;
    const Dims& dims = from.problem->dims;
    const int64_t D = from.D;
    rows = Min(kBlockQ, dims.Tq - start);
    blocks = BlocksOf(from.Bound(start + rows - 1));
    Zero(query, kBlockQ * D);
    for (int64_t r = 0; r < rows; r++) {
      const float* source = from.problem->query + (index * dims.Tq + start + r) * dims.D;
      const bool finite = CopyFinite(source, query + r * D, dims.D);
      state[r] = from.StateOf(start + r, finite);
      if (!Ordinary(r)) Mark(r, state[r]);
    }
    for (int64_t i = 0; i < rows * D; i++) scaled[i] = scale * query[i];
    Product(weights, scaled, from.key_columns, D);
    for (int64_t r = 0; r < rows; r++) Normalize(r);
    Zero(kbar, kBlockQ * D);
    Accumulate(kbar, weights, from.key, D);
  }

  // W [rows, keys] = X V^T for X [rows, width] and V by columns.
  void Product(float* w, const float* x, const float* columns, int64_t width) const {
    for (int64_t b = 0; b < blocks; b++) {
      const float* block = columns + b * kBlockK * width;
      Multiply(w + b * kBlockK, stride, Strided<float>{x, width, 1}, block, kBlockK, rows, kBlockK, width);
    }
  }

  // target [rows, width] += W V.
  void Accumulate(float* target, const float* w, const float* v, int64_t width) const {
    for (int64_t b = 0; b < blocks; b++) {
      const Strided<float> block{w + b * kBlockK, stride, 1};
      MultiplyAdd(target, width, block, v + b * kBlockK * width, width, rows, width, kBlockK);
    }
  }

  // target [keys, width] += W^T X for X [rows, width].
  void AccumulateTransposed(float* target, const float* w, const float* x, int64_t width) const {
    MultiplyAdd(target, width, Strided<float>{w, 1, stride}, x, width, blocks * kBlockK, width, rows);
  }

  // Subtracts from row r of `w` its mean under the weights, and adds `offset`. The number at the top key is taken off first:
  // under large scores that key has almost all of the weight, and its difference from the mean is small.
  void Center(float* w, int64_t r, float offset) const {
    const float* p = weights + r * stride;
    const int64_t end = blocks * kBlockK;
    const float at_top = w[top[r]];
    double sum = 0;
    for (int64_t first = 0; first < end; first += kBlockK) {
      Vector<float> part{};
      for (int64_t j = first; j < first + kBlockK; j += kLanes<float>) {
        const Vector<float> difference = Load(w + j) - at_top;
        Store(w + j, difference);
        part += Load(p + j) * difference;
      }
      sum += Sum(part);
    }
    const float shift = static_cast<float>(offset - sum);
    for (int64_t j = 0; j < end; j += kLanes<float>) Store(w + j, Load(w + j) + shift);
  }

 private:
  // Turns the scaled products of row r into softmax weights.
  void Normalize(int64_t r) {
    float* w = weights + r * stride;
    const int64_t bound = head->Bound(start + r);
    const int64_t end = blocks * kBlockK;
    Vector<float> largest = Broadcast(kHidden);
    for (int64_t j = bound; j < end; j++) w[j] = 0;
    const int64_t seen = Min(end, (bound + kPad - 1) / kPad * kPad);
    for (int64_t j = 0; j < seen; j += kLanes<float>) {
      // A hidden key's product is zero, so that its score is kHidden.
      const Vector<float> score = Load(w + j) + Load(head->bias + j);
      Store(w + j, score);
    }
    for (int64_t j = bound; j < seen; j++) w[j] = kHidden;
    for (int64_t j = 0; j < seen; j += kLanes<float>) largest = Larger(Load(w + j), largest);
    const float max = Largest(largest);
    top[r] = 0;
    if (max <= 0.5f * kHidden) {
      Zero(w, end);
      return;
    }
    while (w[top[r]] != max) top[r]++;
    double sum = 0;
    for (int64_t first = 0; first < seen; first += kBlockK) {
      Vector<float> part{};
      for (int64_t j = first; j < Min(first + kBlockK, seen); j += kLanes<float>) {
        const Vector<float> p = ExpOfNegative(Load(w + j) - max);
        Store(w + j, p);
        part += p;
      }
      sum += Sum(part);
    }
    const Vector<float> inverse = Broadcast(static_cast<float>(1 / sum));
    for (int64_t j = 0; j < seen; j += kLanes<float>) Store(w + j, Load(w + j) * inverse);
  }
};

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
