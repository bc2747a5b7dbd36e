// A step of softmax, Parallax and local linear attention over a cache (operator READMEs; src/caches).
#include "common/native/definite.h"
#include "common/native/solve.h"
#include "common/native/step_row.h"
#include "common/native/tasks.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {
namespace {

// Solves (C + ridge I) x = q - kbar for one row, over the keys where they stand, in double.
struct RowSolver {
  const ProbeOptions* options;
  StepRow* row;
  double *kbar, *b, *x, *residual, *direction, *image, *covariance;

  static int64_t Doubles(const Dims& dims) { return 6 * dims.D + dims.D * dims.D; }

  void Place(const ProbeOptions& o, StepRow& r, double* memory) {
    options = &o;
    row = &r;
    double** const vectors[] = {&kbar, &b, &x, &residual, &direction, &image, &covariance};
    for (double** vector : vectors) {
      *vector = memory;
      memory += r.D;
    }
  }

  const double* Solve(double ridge) {
    const int64_t D = row->D;
    Zero(kbar, D);
    row->AddKeys(row->weights, kbar);
    for (int64_t d = 0; d < D; d++) b[d] = row->query[d] - kbar[d];
    Zero(x, D);
    if (Dot(b, b, D) == 0) return x;
    if (options->solver == Solver::kConjugateGradient) {
      Iterate(ridge, options->max_iterations);
      return x;
    }
    const bool iterates = options->solver == Solver::kAuto && D >= kDirectBelowD && !IsSmall(ridge);
    const int64_t even = D / 2 + D * D / (3 * Max<int64_t>(1, row->seen)) + 1;
    if (!iterates || !Iterate(ridge, Min(options->max_iterations, even))) Direct(ridge);
    return x;
  }

 private:
  // Whether a small residual promises no small error: the ridge beside the mean diagonal of C.
  bool IsSmall(double ridge) const {
    double sum = 0;
    row->ForKeys([&](int64_t j, const float* key, const float*, float) {
      if (!row->visible[j]) return;
      double squares = 0;
      for (int64_t d = 0; d < row->D; d++) squares += (key[d] - kbar[d]) * (key[d] - kbar[d]);
      sum += row->weights[j] * squares;
    });
    return ridge < kSmallRidge * sum / row->D;
  }

  bool Iterate(double ridge, int64_t most) {
    const int64_t D = row->D;
    memcpy(residual, b, D * sizeof(double));
    memcpy(direction, b, D * sizeof(double));
    double rr = Dot(b, b, D);
    const double target = options->tolerance * options->tolerance * rr;
    for (int64_t iteration = 0; iteration < most; iteration++) {
      Apply(ridge);
      const double curvature = Dot(direction, image, D);
      if (!(curvature > 0)) return false;
      AddScaled(x, rr / curvature, direction, D);
      AddScaled(residual, -rr / curvature, image, D);
      const double next = Dot(residual, residual, D);
      if (next <= target) return true;
      for (int64_t d = 0; d < D; d++) direction[d] = residual[d] + next / rr * direction[d];
      rr = next;
    }
    return false;
  }

  // image = (C + ridge I) direction
  void Apply(double ridge) {
    const int64_t D = row->D;
    row->Multiply(direction);
    const double shift = Dot(direction, kbar, D);
    double sum = 0;
    for (int64_t j = 0; j < row->seen; j++) {
      row->products[j] = row->weights[j] * (row->products[j] - shift);
      sum += row->products[j];
    }
    for (int64_t d = 0; d < D; d++) image[d] = ridge * direction[d] - sum * kbar[d];
    row->AddKeys(row->products, image);
  }

  void Direct(double ridge) {
    const int64_t D = row->D;
    Zero(covariance, D * D);
    for (int64_t d = 0; d < D; d++) covariance[d * D + d] = ridge;
    row->ForKeys([&](int64_t j, const float* key, const float*, float) {
      if (!row->visible[j]) return;
      for (int64_t d = 0; d < D; d++) direction[d] = key[d] - kbar[d];
      for (int64_t a = 0; a < D; a++) {
        AddScaled(covariance + a * D + a, row->weights[j] * direction[a], direction + a, D - a);
      }
    });
    FactorUpper(covariance, D, ridge);
    memcpy(x, b, D * sizeof(double));
    SolveUpper(covariance, D, x);
  }
};

// Writes the new rows of a head into the cache, only those that will still be in it.
void Append(const CacheStep& step, int64_t head) {
  const Problem& problem = step.problem;
  const int64_t t = problem.dims.Tk, D = problem.dims.D, Dv = problem.dims.Dv;
  for (int64_t i = Max<int64_t>(0, t - step.capacity); i < t; i++) {
    const int64_t row = head * step.capacity + (step.total + i) % step.capacity, from = head * t + i;
    memcpy(step.cached_key + row * D, problem.key + from * D, D * sizeof(float));
    memcpy(step.cached_value + row * Dv, problem.value + from * Dv, Dv * sizeof(float));
    if (step.cached_bias) step.cached_bias[row] = NewBias(problem, head, i);
  }
}

// New tokens from which on the kernel for whole calls is the faster one, in spite of a copy of the cache.
constexpr int64_t kManyTokens = 8;

// A step as one causal call over a copy of the cached tokens and the new ones, where every row sees all before it.
void AttendToCopy(const CacheStep& step, const ProbeOptions& options, float* out, Executor& executor) {
  const Problem& given = step.problem;
  Problem whole = given;
  const int64_t t = given.dims.Tk, D = given.dims.D, Dv = given.dims.Dv, Tk = step.length + t;
  float* keys = AllocateArray<float>(executor, given.dims.heads * Tk * D);
  float* values = AllocateArray<float>(executor, given.dims.heads * Tk * Dv);
  float* biases = AllocateArray<float>(executor, given.dims.heads * Tk);
  auto copy = [&](int, int64_t head) {
    float *key = keys + head * Tk * D, *value = values + head * Tk * Dv, *bias = biases + head * Tk;
    for (int64_t j = 0; j < step.length; j++) {
      const int64_t row = head * step.capacity + (step.total - step.length + j) % step.capacity;
      memcpy(key + j * D, step.cached_key + row * D, D * sizeof(float));
      memcpy(value + j * Dv, step.cached_value + row * Dv, Dv * sizeof(float));
      bias[j] = step.cached_bias ? step.cached_bias[row] : 0.0f;
    }
    memcpy(key + step.length * D, given.key + head * t * D, t * D * sizeof(float));
    memcpy(value + step.length * Dv, given.value + head * t * Dv, t * Dv * sizeof(float));
    for (int64_t j = 0; j < t; j++) bias[step.length + j] = NewBias(given, head, j);
    for (int64_t j = 0; j < Tk; j++) {
      if (bias[j] <= kHidingBias) bias[j] = -__builtin_inff();
    }
  };
  ForEach(executor, given.dims.heads, copy);
  whole.dims.Tk = Tk;
  whole.causal = true;
  whole.key = keys;
  whole.value = values;
  whole.key_mask = nullptr;
  whole.key_bias = biases;
  ProbeAttention(whole, options, {out, nullptr}, executor);
}

void AttendByRow(const CacheStep& step, const ProbeOptions& options, float* out, Executor& executor) {
  const Dims& dims = step.problem.dims;
  const int64_t row_doubles = StepRow::Doubles(step), doubles = row_doubles + RowSolver::Doubles(dims) + dims.D;
  double* memory = AllocateArray<double>(executor, executor.workers() * doubles);
  auto attend = [&](int worker, int64_t task) {
    const int64_t head = task / dims.Tq, i = task % dims.Tq;
    double* own = memory + worker * doubles;
    StepRow row;
    row.Place(step, own);
    RowState state = row.Weigh(row.LoadRow(head, i), options.scale);
    const double* x = nullptr;
    if (state == kOrdinary && options.kind == ProbeKind::kGiven) {
      double* probe = own + row_doubles;
      if (!CopyWide(options.probe + task * dims.D, probe, dims.D)) state = kBad;
      for (int64_t d = 0; d < dims.D; d++) probe[d] = -probe[d];
      x = probe;
    }
    if (state == kOrdinary && options.kind == ProbeKind::kSolved) {
      const float ridge = options.ridge ? options.ridge[task] : options.ridge_value;
      if (ridge > 0 && IsFinite(ridge)) {
        RowSolver solver;
        solver.Place(options, row, own + row_doubles);
        x = solver.Solve(ridge);
      } else {
        state = kBad;
      }
    }
    if (state == kOrdinary && !row.Combine(x)) state = kBad;
    float* target = out + task * dims.Dv;
    for (int64_t d = 0; d < dims.Dv; d++) {
      target[d] = state == kOrdinary ? static_cast<float>(row.out[d]) : state == kBad ? __builtin_nanf("") : 0.0f;
    }
  };
  ForEach(executor, dims.heads * dims.Tq, attend);
}

}  // namespace

void ProbeStep(const CacheStep& step, const ProbeOptions& options, float* out, Executor& executor) {
  const Dims& dims = step.problem.dims;
  const bool sees_all = step.window == 0 || step.length + dims.Tk <= step.window;
  if (sees_all && dims.Tk >= kManyTokens) AttendToCopy(step, options, out, executor);
  else AttendByRow(step, options, out, executor);
  // Only now: rows of a window read what this overwrites.
  auto append = [&](int, int64_t head) { Append(step, head); };
  ForEach(executor, dims.heads, append);
}

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
