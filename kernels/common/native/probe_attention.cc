// Forward pass and gradient of softmax, Parallax and local linear attention (operator READMEs; the family, exact gradient).
#include "common/native/probe_options.h"
#include "common/native/solve.h"
#include "common/native/tasks.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {
namespace {

// What one worker needs for a tile.
struct Tile {
  const ProbeOptions* options;
  SoftmaxTile softmax;
  TileSolver solver;
  float ridge[kBlockQ];
  float *x, *b, *u, *n, *g, *dq, *rows, *tau, *gamma, *scratch;

  static int64_t Floats(const Dims& dims, bool gradient) {
    const int64_t D = Padded(dims.D), Dv = Padded(dims.Dv);
    return Aligned(SoftmaxTile::Floats(dims)) + Aligned(TileSolver::Floats(dims)) + kBlockQ * (5 * D + 2 * Dv) +
           (gradient ? 3 : 1) * kBlockQ * SoftmaxTile::Stride(dims);
  }

  void Place(const Dims& dims, const ProbeOptions& o, bool gradient, float* memory) {
    const int64_t D = Padded(dims.D), Dv = Padded(dims.Dv), wide = kBlockQ * SoftmaxTile::Stride(dims);
    options = &o;
    softmax.Place(dims, o.scale, memory);
    memory += Aligned(SoftmaxTile::Floats(dims));
    solver.Place(dims, o, softmax, ridge, memory);
    memory += Aligned(TileSolver::Floats(dims));
    float** const narrow[] = {&x, &b, &u, &n, &dq};
    for (float** buffer : narrow) {
      *buffer = memory;
      memory += kBlockQ * D;
    }
    g = memory;
    rows = g + kBlockQ * Dv;
    tau = rows + kBlockQ * Dv;
    gamma = gradient ? tau + wide : nullptr;
    scratch = gradient ? gamma + wide : nullptr;
  }

  bool Solved() const { return options->kind == ProbeKind::kSolved; }

  // A row whose ridge is no positive finite number is bad, and computes with 1.
  void LoadRidge(int64_t head) {
    const Dims& dims = softmax.head->problem->dims;
    for (int64_t r = 0; r < softmax.rows; r++) {
      const float given = options->ridge ? options->ridge[head * dims.Tq + softmax.start + r] : options->ridge_value;
      const bool usable = given > 0 && IsFinite(given);
      softmax.Require(r, usable);
      ridge[r] = usable ? given : 1.0f;
    }
  }

  // A probe that was an input, times `sign`.
  void LoadProbe(int64_t head, float sign) {
    const Dims& dims = softmax.head->problem->dims;
    const int64_t D = softmax.head->D;
    for (int64_t r = 0; r < softmax.rows; r++) {
      const float* source = options->probe + (head * dims.Tq + softmax.start + r) * dims.D;
      softmax.Require(r, CopyFinite(source, x + r * D, dims.D));
      for (int64_t d = 0; d < D; d++) x[r * D + d] *= sign;
    }
  }

  // The probe of each row; zeros in rows that are not ordinary. `saved`: the forward pass has solved it.
  void FindProbe(int64_t head, bool saved) {
    const int64_t D = softmax.head->D;
    Zero(x, kBlockQ * D);
    if (options->kind == ProbeKind::kGiven) LoadProbe(head, -1.0f);
    if (Solved()) {
      LoadRidge(head);
      if (saved) {
        LoadProbe(head, 1.0f);
      } else {
        for (int64_t i = 0; i < softmax.rows * D; i++) {
          b[i] = softmax.Ordinary(i / D) ? softmax.query[i] - softmax.head->centre[i % D] - softmax.kbar[i] : 0.0f;
        }
        solver.Solve(b, x, true);
      }
    }
    for (int64_t r = 0; r < softmax.rows; r++) {
      if (!softmax.Ordinary(r)) Zero(x + r * D, D);
    }
  }

  // w_j = offset + y_j.v for a row: the products are there, those of rows that were solved directly are made anew in
  // double, since their solution may be large and the products small.
  void Affine(float* w, const float* v, int64_t r, float offset, bool precise, const double* exact) {
    const Head& head = *softmax.head;
    const int64_t D = head.D, end = softmax.blocks * kBlockK;
    float* row = w + r * softmax.stride;
    if (precise) {
      double* z = solver.mean;
      const float* top = head.key + softmax.top[r] * D;
      for (int64_t d = 0; d < D; d++) z[d] = exact ? exact[r * D + d] : v[r * D + d];
      for (int64_t j = 0; j < end; j++) {
        double sum = 0;
        for (int64_t d = 0; d < D; d++) sum += z[d] * (static_cast<double>(head.key[j * D + d]) - top[d]);
        row[j] = static_cast<float>(sum);
      }
    }
    softmax.Center(row, r, offset);
  }
};

}  // namespace

void ProbeAttention(const Problem& problem, const ProbeOptions& options, const ProbeOutputs& outputs,
                    Executor& executor) {
  const Dims& dims = problem.dims;
  const int64_t group = HeadsAtATime(dims, executor), tiles = (dims.Tq + kBlockQ - 1) / kBlockQ;
  const int64_t head_floats = Aligned(Head::Floats(dims, false)), tile_floats = Aligned(Tile::Floats(dims, false));
  float* head_memory = static_cast<float*>(executor.Allocate(group * head_floats * sizeof(float)));
  float* tile_memory = static_cast<float*>(executor.Allocate(executor.workers() * tile_floats * sizeof(float)));
  Head* heads = static_cast<Head*>(executor.Allocate(group * sizeof(Head)));
  for (int64_t first = 0; first < dims.heads; first += group) {
    const int64_t count = Min(group, dims.heads - first);
    auto prepare = [&](int, int64_t h) {
      heads[h].Place(problem, false, head_memory + h * head_floats);
      heads[h].LoadHead(first + h);
    };
    ForEach(executor, count, prepare);
    auto compute = [&](int worker, int64_t task) {
      // The longest tiles of a causal call come first, so that no core has one left at the end.
      const int64_t h = task % count, start = (tiles - 1 - task / count) * kBlockQ;
      const Head& head = heads[h];
      Tile tile;
      tile.Place(dims, options, false, tile_memory + worker * tile_floats);
      SoftmaxTile& softmax = tile.softmax;
      softmax.LoadRows(head, first + h, start);
      if (options.kind != ProbeKind::kNone) {
        tile.FindProbe(first + h, false);
        softmax.Product(tile.tau, tile.x, head.key_columns, head.D);
        for (int64_t r = 0; r < softmax.rows; r++) {
          const bool precise = tile.Solved() && softmax.Ordinary(r) && tile.solver.direct[r];
          tile.Affine(tile.tau, tile.x, r, 1.0f, precise, tile.solver.exact);
          float* w = softmax.weights + r * softmax.stride;
          const float* tau = tile.tau + r * softmax.stride;
          for (int64_t j = 0; j < softmax.blocks * kBlockK; j++) w[j] *= tau[j];
        }
      }
      Zero(tile.rows, kBlockQ * head.Dv);
      softmax.Accumulate(tile.rows, softmax.weights, head.value, head.Dv);
      const int64_t row = (first + h) * dims.Tq + start;
      StoreRows(softmax.state, softmax.rows, tile.rows, head.Dv, outputs.out + row * dims.Dv, dims.Dv);
      if (outputs.probe) StoreRows(softmax.state, softmax.rows, tile.x, head.D, outputs.probe + row * dims.D, dims.D);
    };
    ForEach(executor, count * tiles, compute);
  }
}

namespace {

// The gradients of a head's keys that one task has summed over its rows.
struct KeySums {
  float* dk;
  float* dv;
  float* db;
  int64_t bad_bound;  // keys before it are seen by a row that is NaN

  static int64_t Floats(const Dims& dims) {
    return BlocksOf(dims.Tk) * kBlockK * (Padded(dims.D) + Padded(dims.Dv) + 1);
  }

  void Place(const Head& head, float* memory) {
    dk = memory;
    dv = dk + head.keys * head.D;
    db = dv + head.keys * head.Dv;
    bad_bound = 0;
    Zero(memory, head.keys * (head.D + head.Dv + 1));
  }
};

// The gradient of one tile. Rows that are not ordinary have a zero cotangent and so add nothing.
void TileGradient(Tile& tile, const ProbeGradients& gradients, int64_t index, KeySums& sums) {
  SoftmaxTile& softmax = tile.softmax;
  const Head& head = *softmax.head;
  const Dims& dims = head.problem->dims;
  const int64_t D = head.D, Dv = head.Dv, end = softmax.blocks * kBlockK, stride = softmax.stride;
  const bool has_probe = tile.options->kind != ProbeKind::kNone, solved = tile.Solved();
  const int64_t row = index * dims.Tq + softmax.start;
  Zero(tile.g, kBlockQ * Dv);
  for (int64_t r = 0; r < softmax.rows; r++) {
    softmax.Require(r, CopyFinite(gradients.dout + (row + r) * dims.Dv, tile.g + r * Dv, dims.Dv));
  }
  tile.FindProbe(index, true);
  for (int64_t r = 0; r < softmax.rows; r++) {
    if (!softmax.Ordinary(r)) Zero(tile.g + r * Dv, Dv);
    if (softmax.state[r] == kBad) sums.bad_bound = Max(sums.bad_bound, head.Bound(softmax.start + r));
  }
  softmax.Product(tile.gamma, tile.g, head.value_columns, Dv);
  for (int64_t r = 0; r < softmax.rows; r++) {
    const float* p = softmax.weights + r * stride;
    float *gamma = tile.gamma + r * stride, *scratch = tile.scratch + r * stride;
    softmax.Center(gamma, r, 0.0f);
    for (int64_t j = 0; j < end; j++) scratch[j] = p[j] * gamma[j];
  }
  // sum_j p_j (Gamma_j - Gbar) = 0, so the keys need no centring by kbar here.
  Zero(tile.n, kBlockQ * D);
  softmax.Accumulate(tile.n, tile.scratch, head.key, D);
  Zero(tile.u, kBlockQ * D);
  if (solved) tile.solver.Solve(tile.n, tile.u, false);
  if (has_probe) softmax.Product(tile.tau, tile.x, head.key_columns, D);
  if (solved) softmax.Product(tile.scratch, tile.u, head.key_columns, D);
  for (int64_t r = 0; r < softmax.rows; r++) {
    float *p = softmax.weights + r * stride, *tau = tile.tau + r * stride, *gamma = tile.gamma + r * stride;
    const float* yu = tile.scratch + r * stride;
    const bool precise = solved && softmax.Ordinary(r) && tile.solver.direct[r];
    if (has_probe) tile.Affine(tile.tau, tile.x, r, 1.0f, precise, nullptr);
    if (solved) tile.Affine(tile.scratch, tile.u, r, 0.0f, precise, tile.solver.exact);
    const double ux = Dot(tile.u + r * D, tile.x + r * D, D);
    // What makes the scores' gradient sum to zero.
    const double zero_sum = solved ? tile.ridge[r] * ux : Dot(tile.n + r * D, tile.x + r * D, D);
    const float constant = static_cast<float>(zero_sum);
    if (gradients.dridge) {
      const float dridge = static_cast<float>(-ux);
      gradients.dridge[row + r] = softmax.Ordinary(r)         ? dridge
                                  : softmax.state[r] == kBad ? __builtin_nanf("")
                                                             : 0.0f;
    }
    for (int64_t j = 0; j < end; j++) {
      const float weight = p[j];
      const float t = has_probe ? tau[j] : 1.0f;
      const float eta = solved ? gamma[j] - yu[j] : gamma[j];
      tau[j] = weight * t;
      gamma[j] = weight * eta;
      p[j] = weight * (t * eta - constant);
    }
  }
  // Now weights hold the scores' gradient, gamma p eta, tau p tau.
  for (int64_t i = 0; i < softmax.rows * D; i++) tile.dq[i] = softmax.scale * softmax.query[i];
  softmax.AccumulateTransposed(sums.dk, softmax.weights, tile.dq, D);
  softmax.AccumulateTransposed(sums.dv, tile.tau, tile.g, Dv);
  if (has_probe) softmax.AccumulateTransposed(sums.dk, tile.gamma, tile.x, D);
  if (solved) {
    for (int64_t i = 0; i < softmax.rows * D; i++) tile.dq[i] = -tile.u[i];
    softmax.AccumulateTransposed(sums.dk, tile.tau, tile.dq, D);
  }
  for (int64_t r = 0; r < softmax.rows; r++) {
    for (int64_t j = 0; j < end; j++) sums.db[j] += softmax.weights[r * stride + j];
  }
  Zero(tile.dq, kBlockQ * D);
  softmax.Accumulate(tile.dq, softmax.weights, head.key, D);
  for (int64_t i = 0; i < softmax.rows * D; i++) tile.dq[i] = softmax.scale * tile.dq[i] + tile.u[i];
  StoreRows(softmax.state, softmax.rows, tile.dq, D, gradients.dquery + row * dims.D, dims.D);
  if (gradients.dprobe) {
    // The probe is minus the input.
    for (int64_t i = 0; i < softmax.rows * D; i++) tile.n[i] = -tile.n[i];
    StoreRows(softmax.state, softmax.rows, tile.n, D, gradients.dprobe + row * dims.D, dims.D);
  }
}

// Adds the sums of a head's tasks up and writes them: zeros for hidden keys, NaN for those that a bad row sees.
void StoreKeys(const Head& head, int64_t index, KeySums* parts, int64_t count, const ProbeGradients& gradients) {
  const Dims& dims = head.problem->dims;
  const float nan = __builtin_nanf("");
  int64_t bad_bound = 0;
  for (int64_t t = 0; t < count; t++) bad_bound = Max(bad_bound, parts[t].bad_bound);
  for (int64_t j = 0; j < dims.Tk; j++) {
    const bool visible = head.Visible(j), bad = j < bad_bound;
    const int64_t at = index * dims.Tk + j;
    for (int64_t d = 0; d < dims.D; d++) {
      float sum = 0;
      for (int64_t t = 0; t < count; t++) sum += parts[t].dk[j * head.D + d];
      gradients.dkey[at * dims.D + d] = !visible ? 0.0f : bad ? nan : sum;
    }
    for (int64_t d = 0; d < dims.Dv; d++) {
      float sum = 0;
      for (int64_t t = 0; t < count; t++) sum += parts[t].dv[j * head.Dv + d];
      gradients.dvalue[at * dims.Dv + d] = !visible ? 0.0f : bad ? nan : sum;
    }
    if (!gradients.dbias) continue;
    float sum = 0;
    for (int64_t t = 0; t < count; t++) sum += parts[t].db[j];
    gradients.dbias[at] = !visible ? 0.0f : bad ? nan : sum;
  }
}

}  // namespace

void ProbeAttentionGradient(const Problem& problem, const ProbeOptions& options, const ProbeGradients& gradients,
                            Executor& executor) {
  const Dims& dims = problem.dims;
  const int64_t group = HeadsAtATime(dims, executor), tiles = (dims.Tq + kBlockQ - 1) / kBlockQ;
  // Rows of a head are shared among so many tasks that few heads keep all cores busy, too.
  const int64_t parts = Min(tiles, (2 * executor.workers() + group - 1) / group);
  const int64_t head_floats = Aligned(Head::Floats(dims, true)), tile_floats = Aligned(Tile::Floats(dims, true));
  const int64_t sum_floats = Aligned(KeySums::Floats(dims));
  float* head_memory = static_cast<float*>(executor.Allocate(group * head_floats * sizeof(float)));
  float* tile_memory = static_cast<float*>(executor.Allocate(executor.workers() * tile_floats * sizeof(float)));
  float* sum_memory = static_cast<float*>(executor.Allocate(group * parts * sum_floats * sizeof(float)));
  Head* heads = static_cast<Head*>(executor.Allocate(group * sizeof(Head)));
  KeySums* sums = static_cast<KeySums*>(executor.Allocate(group * parts * sizeof(KeySums)));
  for (int64_t first = 0; first < dims.heads; first += group) {
    const int64_t count = Min(group, dims.heads - first);
    auto prepare = [&](int, int64_t h) {
      heads[h].Place(problem, true, head_memory + h * head_floats);
      heads[h].LoadHead(first + h);
    };
    ForEach(executor, count, prepare);
    auto compute = [&](int worker, int64_t task) {
      const int64_t h = task / parts, part = task % parts;
      KeySums& sum = sums[task];
      sum.Place(heads[h], sum_memory + task * sum_floats);
      Tile tile;
      tile.Place(dims, options, true, tile_memory + worker * tile_floats);
      for (int64_t t = part; t < tiles; t += parts) {
        tile.softmax.LoadRows(heads[h], first + h, t * kBlockQ);
        TileGradient(tile, gradients, first + h, sum);
      }
    };
    ForEach(executor, count * parts, compute);
    auto store = [&](int, int64_t h) { StoreKeys(heads[h], first + h, sums + h * parts, parts, gradients); };
    ForEach(executor, count, store);
  }
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
