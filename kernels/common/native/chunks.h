// Sums over keys and over rows for the operators whose weights are plain products: what all rows of a tile share is read
// from sums over chunks of keys, the rest is summed key by key; the same the other way round. All chunks run at once.
#pragma once

#include "common/native/head.h"
#include "common/native/matrix.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

struct Chunks {
  int64_t size;  // a multiple of kBlockK
  int64_t count;
};

// With at least `width` rows in a chunk, the sums over all chunks take no more memory than the rows themselves.
inline Chunks ChunksOf(int64_t length, int64_t width, bool causal) {
  const int64_t size = BlocksOf(Max(width, causal ? kBlockK : 4 * kBlockK)) * kBlockK;
  return {size, (length + size - 1) / size};
}

// Where a tile reads from: the sums at `chunk`, and the blocks `first .. end - 1` in full.
struct Span {
  int64_t chunk;
  int64_t first;
  int64_t end;
};

// The keys of rows start .. start + rows - 1; the sums at a chunk are those before it.
inline Span KeysOfRows(const Head& head, const Chunks& chunks, int64_t start, int64_t rows) {
  const int64_t shared = head.Bound(start);
  if (shared == head.problem->dims.Tk) return {chunks.count, 0, 0};
  const int64_t chunk = shared / chunks.size;
  return {chunk, chunk * chunks.size / kBlockK, BlocksOf(head.Bound(start + rows - 1))};
}

// The rows that see keys start .. start + keys - 1; the sums at a chunk are those from it on.
inline Span RowsOfKeys(const Problem& problem, const Chunks& chunks, int64_t start, int64_t keys) {
  if (!problem.causal) return {0, 0, 0};
  const Dims& dims = problem.dims;
  const int64_t first = Max<int64_t>(0, start + dims.Tq - dims.Tk);
  const int64_t all = Max<int64_t>(0, start + keys - 1 + dims.Tq - dims.Tk);
  const int64_t chunk = (all + chunks.size - 1) / chunks.size;
  return {chunk, first / kBlockK, BlocksOf(Min(chunk * chunks.size, dims.Tq))};
}

// Zeros in a block of scores [kBlockK rows, kBlockK keys] where a row does not see a key.
inline void MaskBlock(const Head& head, float* scores, int64_t first_row, int64_t first_key) {
  for (int64_t r = 0; r < kBlockK; r++) {
    const int64_t seen = Max<int64_t>(0, Min(kBlockK, head.Bound(first_row + r) - first_key));
    Zero(scores + r * kBlockK + seen, kBlockK - seen);
  }
}

// state [left, right] += sum of left_j right_j^T over `count` rows.
template <typename T>
void AddOuterProducts(T* state, const T* left, int64_t left_width, const T* right, int64_t right_width, int64_t count) {
  for (int64_t j = 0; j < count; j += kBlockK) {
    const Strided<T> columns{left + j * left_width, 1, left_width};
    MultiplyAdd(state, right_width, columns, right + j * right_width, right_width, left_width, right_width,
                Min(kBlockK, count - j));
  }
}

// target [width] += sum of weight_i row_i over `count` rows; without weights 1.
inline void AddWeighted(float* target, const float* rows, const float* weights, int64_t width, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const float weight = weights ? weights[i] : 1.0f;
    for (int64_t d = 0; d < width; d++) target[d] += weight * rows[i * width + d];
  }
}

// Turns the sums of `count` chunks, `size` numbers each, into those of all chunks before each, and, last, of all.
template <typename T>
void SumBefore(T* sums, int64_t count, int64_t size) {
  Zero(sums + count * size, size);
  for (int64_t i = 0; i < size; i++) {
    T total = 0;
    for (int64_t c = 0; c <= count; c++) {
      const T own = sums[c * size + i];
      sums[c * size + i] = total;
      total += own;
    }
  }
}

// Turns them into those of each chunk and all behind it; the last is empty.
template <typename T>
void SumFrom(T* sums, int64_t count, int64_t size) {
  Zero(sums + count * size, size);
  for (int64_t c = count - 1; c >= 0; c--) {
    for (int64_t i = 0; i < size; i++) sums[c * size + i] += sums[(c + 1) * size + i];
  }
}

// target [columns, rows] = source [rows, columns]^T.
inline void TransposeInto(float* target, const float* source, int64_t rows, int64_t columns) {
  for (int64_t c = 0; c < columns; c++) {
    for (int64_t r = 0; r < rows; r++) target[c * rows + r] = source[r * columns + c];
  }
}

// Writes gradients of keys start .. start + count - 1: zeros for hidden ones, NaN for those that a bad row sees.
inline void StoreKeyRows(const Head& head, int64_t bad_bound, int64_t start, int64_t count, const float* rows,
                         int64_t stride, float* target, int64_t width) {
  const float nan = __builtin_nanf("");
  for (int64_t r = 0; r < count; r++) {
    const bool visible = head.Visible(start + r), bad = start + r < bad_bound;
    for (int64_t d = 0; d < width; d++) {
      target[r * width + d] = !visible ? 0.0f : bad ? nan : rows[r * stride + d];
    }
  }
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
