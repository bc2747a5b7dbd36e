// Forward pass and gradient of mesa attention, chunk by chunk (operator README, gradient).
#include "common/native/chunk_work.h"
#include "common/native/definite.h"
#include "mesa_attention/native/mesa_options.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {
namespace {

// Sizes of a call.
struct Plan {
  const Problem* problem;
  MesaOptions options;
  Dims dims;
  bool gradient;
  int64_t D, Dv;  // padded
  Chunks keys, rows;
  int64_t key_sums, row_sums;  // floats of a chunk's sums
  int64_t tiles;               // of rows

  Plan(const Problem& p, const MesaOptions& o, bool with_gradient)
      : problem(&p), options(o), dims(p.dims), gradient(with_gradient), D(Padded(dims.D)), Dv(Padded(dims.Dv)) {
    keys = ChunksOf(dims.Tk, D, p.causal);
    rows = ChunksOf(dims.Tq, D, p.causal);
    key_sums = D * Dv;
    row_sums = D * Dv + D * D;
    tiles = BlocksOf(dims.Tq);
  }

  int64_t HeadDoubles() const { return D + (keys.count + 1) * D * D; }

  int64_t HeadFloats() const {
    const int64_t of_rows = tiles * kBlockK * (2 * D + Dv) + (rows.count + 1) * row_sums;
    const int64_t of_keys = Head::Floats(dims, gradient) + (keys.count + 1) * key_sums;
    return Aligned(2 * HeadDoubles() + of_keys + (gradient ? of_rows : 0));
  }

  int64_t TileDoubles() const { return D * D + D + kBlockK * (2 * D + kBlockK); }

  int64_t TileFloats() const {
    return Aligned(2 * TileDoubles() + kBlockK * (2 * D + 2 * Dv + kBlockK) + D * Dv);
  }
};

// One head; its keys are not centred, since the operator has no intercept.
struct MesaHead {
  Head head;
  double* ridge;    // [D], 1 in padding and where the head's ridge is unusable
  double smallest;  // of the ridges
  bool usable;
  double* grams;    // [chunks + 1, D, D]: upper triangles of sum_j k_j k_j^T; the last becomes the factor of the full call
  float* key_sums;  // [chunks + 1, D, Dv]: sum_j k_j v_j^T
  // Of the gradient; zeros in rows that are not ordinary.
  float* x;         // [rows, D]
  float* minus_u;   // [rows, D]
  float* g;         // [rows, Dv]
  float* row_sums;  // [chunks + 1]: sum_i x_i g_i^T [D, Dv] and -sum_i (x_i u_i^T + u_i x_i^T) [D, D]
  int64_t bad_bound;

  void Load(const Plan& plan, int64_t index, float* memory) {
    const Dims& dims = plan.dims;
    const int64_t padded = plan.tiles * kBlockK;
    ridge = reinterpret_cast<double*>(memory);
    grams = ridge + plan.D;
    memory += 2 * plan.HeadDoubles();
    head.Place(*plan.problem, plan.gradient, memory);
    key_sums = memory + Head::Floats(dims, plan.gradient);
    if (plan.gradient) {
      row_sums = key_sums + (plan.keys.count + 1) * plan.key_sums;
      x = row_sums + (plan.rows.count + 1) * plan.row_sums;
      minus_u = x + padded * plan.D;
      g = minus_u + padded * plan.D;
    }
    head.LoadNumbers(index);
    head.Finish();
    LoadRidge(plan, index);
  }

  void SumKeys(const Plan& plan, int64_t chunk, double* wide) {
    const int64_t D = plan.D, first = chunk * plan.keys.size, count = Min(plan.keys.size, plan.dims.Tk - first);
    double* gram = grams + chunk * D * D;
    float* sums = key_sums + chunk * plan.key_sums;
    Zero(gram, D * D);
    Zero(sums, plan.key_sums);
    for (int64_t j = 0; j < count; j += kBlockK) {
      AddGram(gram, D, head.key + (first + j) * D, Min(kBlockK, count - j), wide);
    }
    AddOuterProducts(sums, head.key + first * D, D, head.value + first * plan.Dv, plan.Dv, count);
  }

  void SumRows(const Plan& plan, int64_t chunk) {
    const int64_t D = plan.D, Dv = plan.Dv, first = chunk * plan.rows.size;
    const int64_t count = Min(plan.rows.size, plan.dims.Tq - first);
    float* sums = row_sums + chunk * plan.row_sums;
    const float *left = x + first * D, *right = minus_u + first * D;
    Zero(sums, plan.row_sums);
    AddOuterProducts(sums, left, D, g + first * Dv, Dv, count);
    AddOuterProducts(sums + D * Dv, left, D, right, D, count);
    AddOuterProducts(sums + D * Dv, right, D, left, D, count);
  }

  // The sums over all keys before each chunk; where every row sees all keys, the factor of the one system.
  void ScanKeys(const Plan& plan) {
    const int64_t size = plan.D * plan.D;
    SumBefore(grams, plan.keys.count, size);
    SumBefore(key_sums, plan.keys.count, plan.key_sums);
    if (!plan.problem->causal) Factor(plan, grams + plan.keys.count * size);
  }

  void ScanRows(const Plan& plan) { SumFrom(row_sums, plan.rows.count, plan.row_sums); }

  void Factor(const Plan& plan, double* gram) const {
    for (int64_t d = 0; d < plan.D; d++) gram[d * plan.D + d] += ridge[d];
    FactorUpper(gram, plan.D, smallest);
  }

 private:
  void LoadRidge(const Plan& plan, int64_t index) {
    const Dims& dims = plan.dims;
    const float* given = plan.options.ridge;
    if (given) given += index % (dims.heads / dims.batch) * dims.D;
    usable = true;
    for (int64_t d = 0; d < plan.D; d++) ridge[d] = 1;
    for (int64_t d = 0; d < dims.D; d++) {
      const float number = given ? given[d] : plan.options.ridge_value;
      usable &= number > 0 && IsFinite(number);
      ridge[d] = number;
    }
    smallest = ridge[0];
    for (int64_t d = 0; d < dims.D; d++) {
      if (!usable) ridge[d] = 1;
      smallest = usable ? Min(smallest, ridge[d]) : 1;
    }
  }
};

// What one worker needs for a tile of rows or keys.
struct Tile {
  const Plan& plan;
  MesaHead& mesa;
  double *factor, *vector, *wide, *right, *wide_scores;
  float *x, *g, *sums, *solved, *scores, *turned;
  RowState state[kBlockK];
  int64_t start, rows;

  Tile(const Plan& p, MesaHead& m, float* memory) : plan(p), mesa(m) {
    factor = reinterpret_cast<double*>(memory);
    vector = factor + p.D * p.D;
    wide = vector + p.D;
    right = wide + kBlockK * p.D;
    wide_scores = right + kBlockK * p.D;
    x = memory + 2 * p.TileDoubles();
    solved = x + kBlockK * p.D;
    g = solved + kBlockK * p.D;
    sums = g + kBlockK * p.Dv;
    scores = sums + kBlockK * p.Dv;
    turned = scores + kBlockK * kBlockK;
  }

  void SumKeys(int64_t chunk) { mesa.SumKeys(plan, chunk, wide); }

  // Loads rows of head `index` from `source` into x and, where there is one, from the cotangent into g.
  void LoadRows(int64_t index, int64_t tile, const float* source, const float* dout) {
    const int64_t D = plan.D, Dv = plan.Dv;
    start = tile * kBlockK;
    rows = Min(kBlockK, plan.dims.Tq - start);
    if (dout) {
      x = mesa.x + start * D;
      g = mesa.g + start * Dv;
      solved = mesa.minus_u + start * D;
    }
    Zero(x, kBlockK * D);
    Zero(g, kBlockK * Dv);
    for (int64_t r = 0; r < rows; r++) {
      const int64_t row = index * plan.dims.Tq + start + r;
      bool finite = mesa.usable;
      finite &= CopyFinite(source + row * plan.dims.D, x + r * D, plan.dims.D);
      if (dout) finite &= CopyFinite(dout + row * plan.dims.Dv, g + r * Dv, plan.dims.Dv);
      state[r] = mesa.head.StateOf(start + r, finite);
      if (state[r] == kOrdinary) continue;
      Zero(x + r * D, D);
      Zero(g + r * Dv, Dv);
    }
  }

  // Overwrites the rows b by (K^T K + diag(ridge))^-1 b over the keys that each sees; rows of zeros stay. Or solves for the rows
  // `wide_b`, if they are there.
  void Solve(float* b, const double* wide_b = nullptr) {
    const int64_t D = plan.D;
    const Head& head = mesa.head;
    if (!plan.problem->causal) {
      const double* shared = mesa.grams + plan.keys.count * D * D;
      for (int64_t r = 0; r < rows; r++) SolveRow(shared, r, b + r * D, wide_b);
      return;
    }
    const int64_t chunk = KeysOfRows(head, plan.keys, start, rows).chunk;
    int64_t absorbed = Min(chunk * plan.keys.size, plan.dims.Tk);
    memcpy(factor, mesa.grams + chunk * D * D, D * D * sizeof(double));
    for (const int64_t end = head.Bound(start); absorbed < end;) {
      const int64_t count = Min(kBlockK, end - absorbed);
      AddGram(factor, D, head.key + absorbed * D, count, wide);
      absorbed += count;
    }
    mesa.Factor(plan, factor);
    for (int64_t r = 0; r < rows; r++) {
      for (const int64_t end = head.Bound(start + r); absorbed < end; absorbed++) {
        for (int64_t d = 0; d < D; d++) vector[d] = head.key[absorbed * D + d];
        UpdateUpper(factor, D, vector);
      }
      SolveRow(factor, r, b + r * D, wide_b);
    }
  }

  // sums_i = sum_j (x_i.k_j) v_j
  void SumOverKeys() {
    const int64_t D = plan.D, Dv = plan.Dv;
    const Head& head = mesa.head;
    const Span span = KeysOfRows(head, plan.keys, start, rows);
    Multiply(sums, Dv, Strided<float>{x, D, 1}, mesa.key_sums + span.chunk * plan.key_sums, Dv, rows, Dv, D);
    for (int64_t b = span.first; b < span.end; b++) {
      Score(x, D, head.key_columns, b);
      MaskBlock(head, scores, start, b * kBlockK);
      MultiplyAdd(sums, Dv, Strided<float>{scores, kBlockK, 1}, head.value + b * kBlockK * Dv, Dv, rows, Dv, kBlockK);
    }
  }

  // The gradient of the tile's queries; leaves what the keys' gradients need. Returns the keys that a bad row sees.
  int64_t QueryGradient(int64_t index, int64_t tile, const MesaGradients& gradients) {
    const int64_t D = plan.D, Dv = plan.Dv;
    const Head& head = mesa.head;
    LoadRows(index, tile, gradients.probe, gradients.dout);
    const Span span = KeysOfRows(head, plan.keys, start, rows);
    TransposeInto(turned, mesa.key_sums + span.chunk * plan.key_sums, D, Dv);
    Zero(solved, kBlockK * D);
    Multiply(solved, D, Strided<float>{g, Dv, 1}, turned, D, rows, D, Dv);
    // Summed in double: what rounding adds outside the span of few keys is divided by the ridge alone, and so is that of x, whose
    // product with it is the ridge's gradient.
    for (int64_t i = 0; i < kBlockK * D; i++) right[i] = solved[i];
    for (int64_t b = span.first; b < span.end; b++) {
      Score(g, Dv, head.value_columns, b);
      MaskBlock(head, scores, start, b * kBlockK);
      for (int64_t i = 0; i < kBlockK * kBlockK; i++) wide_scores[i] = scores[i];
      for (int64_t i = 0; i < kBlockK * D; i++) wide[i] = head.key[b * kBlockK * D + i];
      MultiplyAdd(right, D, Strided<double>{wide_scores, kBlockK, 1}, wide, D, rows, D, kBlockK);
    }
    Solve(solved, right);
    StoreRows(state, rows, solved, D, gradients.dquery + (index * plan.dims.Tq + start) * plan.dims.D, plan.dims.D);
    for (int64_t i = 0; i < rows * D; i++) solved[i] = -solved[i];
    int64_t bad_bound = 0;
    for (int64_t r = 0; r < rows; r++) {
      if (state[r] == kBad) bad_bound = Max(bad_bound, head.Bound(start + r));
    }
    return bad_bound;
  }

  // The gradients of a tile of keys and of their values.
  void KeyGradient(int64_t index, int64_t tile, const MesaGradients& gradients) {
    const int64_t D = plan.D, Dv = plan.Dv, first = tile * kBlockK, count = Min(kBlockK, plan.dims.Tk - first);
    const Head& head = mesa.head;
    const Span span = RowsOfKeys(*plan.problem, plan.rows, first, count);
    const float* from = mesa.row_sums + span.chunk * plan.row_sums;
    const float *key = head.key + first * D, *value = head.value + first * Dv;
    float *dkey = solved, *dvalue = sums;
    Multiply(dvalue, Dv, Strided<float>{key, D, 1}, from, Dv, kBlockK, Dv, D);
    TransposeInto(turned, from, D, Dv);
    Multiply(dkey, D, Strided<float>{value, Dv, 1}, turned, D, kBlockK, D, Dv);
    MultiplyAdd(dkey, D, Strided<float>{key, D, 1}, from + D * Dv, D, kBlockK, D, D);
    const Strided<float> by_keys{scores, 1, kBlockK};
    for (int64_t b = span.first; b < span.end; b++) {
      const float *xs = mesa.x + b * kBlockK * D, *gs = mesa.g + b * kBlockK * Dv, *us = mesa.minus_u + b * kBlockK * D;
      Score(xs, D, head.key_columns, tile);
      MaskBlock(head, scores, b * kBlockK, first);
      MultiplyAdd(dvalue, Dv, by_keys, gs, Dv, kBlockK, Dv, kBlockK);
      MultiplyAdd(dkey, D, by_keys, us, D, kBlockK, D, kBlockK);
      Score(gs, Dv, head.value_columns, tile);
      MultiplyAdd(scores, kBlockK, Strided<float>{us, D, 1}, head.key_columns + first * D, kBlockK, kBlockK, kBlockK, D);
      MaskBlock(head, scores, b * kBlockK, first);
      MultiplyAdd(dkey, D, by_keys, xs, D, kBlockK, D, kBlockK);
    }
    const int64_t at = index * plan.dims.Tk + first;
    StoreKeyRows(head, mesa.bad_bound, first, count, dkey, D, gradients.dkey + at * plan.dims.D, plan.dims.D);
    StoreKeyRows(head, mesa.bad_bound, first, count, dvalue, Dv, gradients.dvalue + at * plan.dims.Dv, plan.dims.Dv);
  }

 private:
  void SolveRow(const double* upper, int64_t r, float* b, const double* wide_b) {
    if (state[r] != kOrdinary) return;
    for (int64_t d = 0; d < plan.D; d++) vector[d] = wide_b ? wide_b[r * plan.D + d] : b[d];
    SolveUpper(upper, plan.D, vector);
    for (int64_t d = 0; d < plan.D; d++) b[d] = static_cast<float>(vector[d]);
  }

  // scores [kBlockK, kBlockK] = rows . block of columns.
  void Score(const float* row, int64_t width, const float* columns, int64_t block) {
    const float* right = columns + block * kBlockK * width;
    Multiply(scores, kBlockK, Strided<float>{row, width, 1}, right, kBlockK, kBlockK, kBlockK, width);
  }
};

using Work = ChunkWork<Plan, MesaHead, Tile>;

// Adds dridge of a group of heads: -sum_i u_i x_i of each head, NaN where one of its rows is.
void AddRidges(const Work& work, int64_t first, int64_t count, double* total) {
  const Plan& plan = work.plan;
  const Dims& dims = plan.dims;
  for (int64_t h = 0; h < count; h++) {
    double* target = total + (first + h) % (dims.heads / dims.batch) * dims.D;
    const MesaHead& mesa = work.heads[h];
    for (int64_t d = 0; d < dims.D; d++) {
      double sum = mesa.bad_bound > 0 ? __builtin_nan("") : 0;
      for (int64_t i = 0; i < dims.Tq; i++) {
        sum += static_cast<double>(mesa.minus_u[i * plan.D + d]) * mesa.x[i * plan.D + d];
      }
      target[d] += sum;
    }
  }
}

}  // namespace

void MesaAttention(const Problem& problem, const MesaOptions& options, const MesaOutputs& outputs, Executor& executor) {
  const Plan plan(problem, options, false);
  const Dims& dims = plan.dims;
  Work work(plan, executor);
  work.ForGroups([&](int64_t first, int64_t count) {
    work.ForTiles(first, count, plan.tiles, [&](Tile& tile, int64_t index, int64_t t) {
      tile.LoadRows(index, t, problem.query, nullptr);
      tile.Solve(tile.x);
      tile.SumOverKeys();
      const int64_t row = index * dims.Tq + tile.start;
      StoreRows(tile.state, tile.rows, tile.sums, plan.Dv, outputs.out + row * dims.Dv, dims.Dv);
      StoreRows(tile.state, tile.rows, tile.x, plan.D, outputs.probe + row * dims.D, dims.D);
    });
  });
}

void MesaAttentionGradient(const Problem& problem, const MesaOptions& options, const MesaGradients& gradients,
                           Executor& executor) {
  const Plan plan(problem, options, true);
  const Dims& dims = plan.dims;
  const int64_t ridges = dims.heads / dims.batch * dims.D;
  Work work(plan, executor);
  double* dridge = AllocateArray<double>(executor, ridges);
  Zero(dridge, ridges);
  work.ForGroups([&](int64_t first, int64_t count) {
    work.Gradient(first, count, gradients);
    if (gradients.dridge) AddRidges(work, first, count, dridge);
  });
  for (int64_t i = 0; gradients.dridge && i < ridges; i++) gradients.dridge[i] = static_cast<float>(dridge[i]);
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
