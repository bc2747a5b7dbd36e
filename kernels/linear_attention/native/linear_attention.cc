// Forward pass and gradient of linear attention, chunk by chunk (operator README, gradient).
#include "common/native/chunk_work.h"
#include "linear_attention/native/features.h"
#include "linear_attention/native/linear_options.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {
namespace {

// Sizes of a call. The sums of a chunk are a matrix [D, Dv] and behind it a vector [D].
struct Plan {
  const Problem* problem;
  LinearOptions options;
  Dims dims;
  bool gradient;
  int64_t D, Dv;  // padded
  Chunks keys, rows;
  int64_t sums;   // floats of a chunk's sums
  int64_t tiles;  // of rows

  Plan(const Problem& p, const LinearOptions& o, bool with_gradient)
      : problem(&p), options(o), dims(p.dims), gradient(with_gradient), D(Padded(dims.D)), Dv(Padded(dims.Dv)) {
    const int64_t width = Min(D, Dv);
    keys = ChunksOf(dims.Tk, width, p.causal);
    rows = ChunksOf(dims.Tq, width, p.causal);
    sums = D * Dv + D;
    tiles = BlocksOf(dims.Tq);
  }

  int64_t HeadFloats() const {
    const int64_t padded = tiles * kBlockK;
    const int64_t of_rows = padded * (D + Dv + 1) + (rows.count + 1) * sums;
    return Aligned(Head::Floats(dims, gradient) + (keys.count + 1) * sums + (gradient ? of_rows : 0));
  }

  int64_t TileFloats() const { return kBlockK * (2 * D + 2 * Dv + kBlockK) + D * Dv; }
};

// One head: its keys are features.
struct LinearHead {
  Head head;
  float* key_sums;   // [chunks + 1]: sum_j phi(k_j) v_j^T and sum_j phi(k_j)
  // Of the gradient; zeros in rows that are not ordinary.
  float* features;   // phi(q) [rows, D]
  float* cotangent;  // f_i g_i [rows, Dv], f_i what the sums of a row are multiplied by
  float* constant;   // -f_i g_i.o_i [rows], zeros where not normalised
  float* row_sums;   // [chunks + 1]: sum_i phi(q_i) (f_i g_i)^T and sum_i constant_i phi(q_i)
  int64_t bad_bound;

  void Load(const Plan& plan, int64_t index, float* memory) {
    const int64_t padded = plan.tiles * kBlockK;
    head.Place(*plan.problem, plan.gradient, memory);
    key_sums = memory + Head::Floats(plan.dims, plan.gradient);
    if (plan.gradient) {
      row_sums = key_sums + (plan.keys.count + 1) * plan.sums;
      features = row_sums + (plan.rows.count + 1) * plan.sums;
      cotangent = features + padded * plan.D;
      constant = cotangent + padded * plan.Dv;
    }
    head.LoadNumbers(index);
    for (int64_t j = 0; j < plan.dims.Tk; j++) {
      if (head.Visible(j)) ToFeatures(plan.options.feature_map, head.key + j * plan.D, plan.dims.D, plan.D);
    }
    head.Finish();
  }

  void SumKeys(const Plan& plan, int64_t chunk) {
    const int64_t first = chunk * plan.keys.size, count = Min(plan.keys.size, plan.dims.Tk - first);
    float* sums = key_sums + chunk * plan.sums;
    Zero(sums, plan.sums);
    AddOuterProducts(sums, head.key + first * plan.D, plan.D, head.value + first * plan.Dv, plan.Dv, count);
    AddWeighted(sums + plan.D * plan.Dv, head.key + first * plan.D, nullptr, plan.D, count);
  }

  void SumRows(const Plan& plan, int64_t chunk) {
    const int64_t first = chunk * plan.rows.size, count = Min(plan.rows.size, plan.dims.Tq - first);
    float* sums = row_sums + chunk * plan.sums;
    Zero(sums, plan.sums);
    AddOuterProducts(sums, features + first * plan.D, plan.D, cotangent + first * plan.Dv, plan.Dv, count);
    AddWeighted(sums + plan.D * plan.Dv, features + first * plan.D, constant + first, plan.D, count);
  }

  void ScanKeys(const Plan& plan) { SumBefore(key_sums, plan.keys.count, plan.sums); }
  void ScanRows(const Plan& plan) { SumFrom(row_sums, plan.rows.count, plan.sums); }
};

// What one worker needs for a tile of rows or keys.
struct Tile {
  const Plan& plan;
  LinearHead& linear;
  float *features, *gradient, *sums, *g, *scores, *turned;
  RowState state[kBlockK];
  double factor[kBlockK];
  int64_t start, rows;

  Tile(const Plan& p, LinearHead& l, float* memory) : plan(p), linear(l) {
    features = memory;
    gradient = features + kBlockK * p.D;
    sums = gradient + kBlockK * p.D;
    g = sums + kBlockK * p.Dv;
    scores = g + kBlockK * p.Dv;
    turned = scores + kBlockK * kBlockK;
  }

  void SumKeys(int64_t chunk) { linear.SumKeys(plan, chunk); }

  // Rows of head `index`; with a cotangent also that, zeros where a row is not ordinary.
  void LoadRows(int64_t index, int64_t tile, const float* dout) {
    const int64_t D = plan.D, Dv = plan.Dv;
    start = tile * kBlockK;
    rows = Min(kBlockK, plan.dims.Tq - start);
    if (dout) features = linear.features + start * D;
    Zero(features, kBlockK * D);
    Zero(g, kBlockK * Dv);
    for (int64_t r = 0; r < rows; r++) {
      const int64_t row = index * plan.dims.Tq + start + r;
      bool finite = CopyFinite(plan.problem->query + row * plan.dims.D, features + r * D, plan.dims.D);
      if (dout) finite &= CopyFinite(dout + row * plan.dims.Dv, g + r * Dv, plan.dims.Dv);
      state[r] = linear.head.StateOf(start + r, finite);
      if (state[r] == kOrdinary) {
        ToFeatures(plan.options.feature_map, features + r * D, plan.dims.D, D);
      } else {
        Zero(features + r * D, D);
        Zero(g + r * Dv, Dv);
      }
    }
  }

  // sums_i = sum_j phi(q_i).phi(k_j) v_j, and what they are multiplied by.
  void SumOverKeys() {
    const int64_t D = plan.D, Dv = plan.Dv;
    const Head& head = linear.head;
    const Span span = KeysOfRows(head, plan.keys, start, rows);
    const float* before = linear.key_sums + span.chunk * plan.sums;
    Multiply(sums, Dv, Strided<float>{features, D, 1}, before, Dv, rows, Dv, D);
    for (int64_t r = 0; r < rows; r++) factor[r] = Dot(features + r * D, before + D * Dv, D);
    for (int64_t b = span.first; b < span.end; b++) {
      Score(features, D, head.key_columns, b, start);
      for (int64_t r = 0; r < rows; r++) {
        Vector<float> part{};
        for (int64_t j = 0; j < kBlockK; j += kLanes<float>) part += Load(scores + r * kBlockK + j);
        factor[r] += Sum(part);
      }
      MultiplyAdd(sums, Dv, Strided<float>{scores, kBlockK, 1}, head.value + b * kBlockK * Dv, Dv, rows, Dv, kBlockK);
    }
    for (int64_t r = 0; r < rows; r++) {
      if (!plan.options.normalize) factor[r] = plan.options.scale;
      else if (factor[r] != 0) factor[r] = 1 / factor[r];
      for (int64_t d = 0; d < Dv; d++) sums[r * Dv + d] = static_cast<float>(sums[r * Dv + d] * factor[r]);
    }
  }

  // The gradient of the tile's queries; leaves what the keys' gradients need. Returns the keys that a bad row sees.
  int64_t QueryGradient(int64_t index, int64_t tile, const LinearGradients& gradients) {
    const int64_t D = plan.D, Dv = plan.Dv;
    const Head& head = linear.head;
    LoadRows(index, tile, gradients.dout);
    SumOverKeys();
    float* cotangent = linear.cotangent + start * Dv;
    float* constant = linear.constant + start;
    int64_t bad_bound = 0;
    Zero(constant, kBlockK);
    for (int64_t r = 0; r < kBlockK; r++) {
      const double f = r < rows ? factor[r] : 0;
      if (r < rows && state[r] == kBad) bad_bound = Max(bad_bound, head.Bound(start + r));
      if (plan.options.normalize && f != 0) {
        constant[r] = static_cast<float>(-f * Dot(g + r * Dv, sums + r * Dv, Dv));
      }
      for (int64_t d = 0; d < Dv; d++) cotangent[r * Dv + d] = static_cast<float>(f * g[r * Dv + d]);
    }
    const Span span = KeysOfRows(head, plan.keys, start, rows);
    const float* before = linear.key_sums + span.chunk * plan.sums;
    TransposeInto(turned, before, D, Dv);
    Multiply(gradient, D, Strided<float>{cotangent, Dv, 1}, turned, D, rows, D, Dv);
    for (int64_t r = 0; r < rows; r++) {
      for (int64_t d = 0; d < D; d++) gradient[r * D + d] += constant[r] * before[D * Dv + d];
    }
    for (int64_t b = span.first; b < span.end; b++) {
      Score(cotangent, Dv, head.value_columns, b, start, constant);
      MultiplyAdd(gradient, D, Strided<float>{scores, kBlockK, 1}, head.key + b * kBlockK * D, D, rows, D, kBlockK);
    }
    TimesDerivative(plan.options.feature_map, gradient, features, rows * D);
    StoreRows(state, rows, gradient, D, gradients.dquery + (index * plan.dims.Tq + start) * plan.dims.D, plan.dims.D);
    return bad_bound;
  }

  // The gradients of a tile of keys and of their values.
  void KeyGradient(int64_t index, int64_t tile, const LinearGradients& gradients) {
    const int64_t D = plan.D, Dv = plan.Dv, first = tile * kBlockK, count = Min(kBlockK, plan.dims.Tk - first);
    const Head& head = linear.head;
    const Span span = RowsOfKeys(*plan.problem, plan.rows, first, count);
    const float* from = linear.row_sums + span.chunk * plan.sums;
    const float *key = head.key + first * D, *value = head.value + first * Dv;
    float *dkey = gradient, *dvalue = sums;
    Multiply(dvalue, Dv, Strided<float>{key, D, 1}, from, Dv, kBlockK, Dv, D);
    TransposeInto(turned, from, D, Dv);
    Multiply(dkey, D, Strided<float>{value, Dv, 1}, turned, D, kBlockK, D, Dv);
    for (int64_t j = 0; j < kBlockK; j++) {
      for (int64_t d = 0; d < D; d++) dkey[j * D + d] += from[D * Dv + d];
    }
    const Strided<float> by_keys{scores, 1, kBlockK};
    for (int64_t b = span.first; b < span.end; b++) {
      const float* phi = linear.features + b * kBlockK * D;
      const float* cotangent = linear.cotangent + b * kBlockK * Dv;
      Score(phi, D, head.key_columns, tile, b * kBlockK);
      MultiplyAdd(dvalue, Dv, by_keys, cotangent, Dv, kBlockK, Dv, kBlockK);
      Score(cotangent, Dv, head.value_columns, tile, b * kBlockK, linear.constant + b * kBlockK);
      MultiplyAdd(dkey, D, by_keys, phi, D, kBlockK, D, kBlockK);
    }
    TimesDerivative(plan.options.feature_map, dkey, key, kBlockK * D);
    const int64_t at = index * plan.dims.Tk + first;
    StoreKeyRows(head, linear.bad_bound, first, count, dkey, D, gradients.dkey + at * plan.dims.D, plan.dims.D);
    StoreKeyRows(head, linear.bad_bound, first, count, dvalue, Dv, gradients.dvalue + at * plan.dims.Dv, plan.dims.Dv);
  }

 private:
  // scores [kBlockK, kBlockK] = rows . block of columns (+ a constant per row), zeros where a row does not see a key.
  void Score(const float* row, int64_t width, const float* columns, int64_t block, int64_t first_row,
             const float* constants = nullptr) {
    const float* right = columns + block * kBlockK * width;
    Multiply(scores, kBlockK, Strided<float>{row, width, 1}, right, kBlockK, kBlockK, kBlockK, width);
    for (int64_t r = 0; constants && r < kBlockK; r++) {
      for (int64_t j = 0; j < kBlockK; j++) scores[r * kBlockK + j] += constants[r];
    }
    MaskBlock(linear.head, scores, first_row, block * kBlockK);
  }
};

using Work = ChunkWork<Plan, LinearHead, Tile>;

}  // namespace

void LinearAttention(const Problem& problem, const LinearOptions& options, float* out, Executor& executor) {
  const Plan plan(problem, options, false);
  const Dims& dims = plan.dims;
  Work work(plan, executor);
  work.ForGroups([&](int64_t first, int64_t count) {
    work.ForTiles(first, count, plan.tiles, [&](Tile& tile, int64_t index, int64_t t) {
      tile.LoadRows(index, t, nullptr);
      tile.SumOverKeys();
      float* target = out + (index * dims.Tq + tile.start) * dims.Dv;
      StoreRows(tile.state, tile.rows, tile.sums, plan.Dv, target, dims.Dv);
    });
  });
}

void LinearAttentionGradient(const Problem& problem, const LinearOptions& options, const LinearGradients& gradients,
                             Executor& executor) {
  const Plan plan(problem, options, true);
  Work work(plan, executor);
  work.ForGroups([&](int64_t first, int64_t count) { work.Gradient(first, count, gradients); });
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
