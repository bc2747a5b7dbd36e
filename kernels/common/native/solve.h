// Solves (C + ridge I) x = b for the rows of a tile, C the covariance of the keys under a row's weights. Conjugate gradient
// runs in float32, for all rows at once; the direct solver forms and factors the system of one row in double.
#pragma once

#include <math.h>

#include "common/native/probe_options.h"
#include "common/native/softmax_tile.h"

namespace tfjs_lla {
namespace TFJS_LLA_ISA {

// Below this dimension the direct solver is cheaper than any useful number of iterations.
constexpr int64_t kDirectBelowD = 24;

// Under `auto` a row with a ridge below this times the keys' variance is solved directly (operator README, numerics).
constexpr double kSmallRidge = 0.01;

struct TileSolver {
  const SoftmaxTile* tile;
  const ProbeOptions* options;
  const float* ridge;    // [kBlockQ]
  bool direct[kBlockQ];  // whether the last solution of a row is the direct solver's
  double* exact;         // [kBlockQ, D]: the solution of such a row in double
  double* matrix;        // [D, D]
  double* weighted;      // [kBlockK, D]
  double* plain;         // [kBlockK, D]
  double* mean;          // [D]
  float *x, *residual, *direction, *image;  // [kBlockQ, D], packed: one slot per row that is still iterated
  float* block;          // [kBlockQ, kBlockK]
  int64_t row_of[kBlockQ];
  double squared[kBlockQ], target[kBlockQ];

  static int64_t Floats(const Dims& dims) {
    const int64_t D = Padded(dims.D);
    return 2 * (kBlockQ * D + D * D + 2 * kBlockK * D + D) + 4 * kBlockQ * D + kBlockQ * kBlockK;
  }

  void Place(const Dims& dims, const ProbeOptions& o, const SoftmaxTile& t, const float* ridges, float* memory) {
    const int64_t D = Padded(dims.D);
    tile = &t;
    options = &o;
    ridge = ridges;
    exact = reinterpret_cast<double*>(memory);
    matrix = exact + kBlockQ * D;
    weighted = matrix + D * D;
    plain = weighted + kBlockK * D;
    mean = plain + kBlockK * D;
    x = reinterpret_cast<float*>(mean + D);
    residual = x + kBlockQ * D;
    direction = residual + kBlockQ * D;
    image = direction + kBlockQ * D;
    block = image + kBlockQ * D;
  }

  // Solutions [rows, D] of right-hand sides [rows, D]; where `from_query`, the direct solver makes its own q - kbar.
  void Solve(const float* b, float* solution, bool from_query) {
    const int64_t D = tile->head->problem->dims.D;
    const bool is_auto = options->solver == Solver::kAuto;
    for (int64_t r = 0; r < tile->rows; r++) direct[r] = true;
    if (options->solver != Solver::kDirect && !(is_auto && D < kDirectBelowD)) {
      const int64_t keys = tile->blocks * kBlockK;
      const int64_t even = D / 2 + D * D / (3 * Max<int64_t>(1, keys)) + 1;
      Iterate(b, solution, is_auto ? Min(options->max_iterations, even) : options->max_iterations);
      for (int64_t r = 0; r < tile->rows; r++) {
        if (!is_auto) direct[r] = false;
        else if (ridge[r] < kSmallRidge * tile->head->variance) direct[r] = true;
      }
    }
    for (int64_t r = 0; r < tile->rows; r++) {
      if (direct[r]) Direct(r, b, solution, from_query);
    }
  }

 private:
  // Iterates all rows at once; `direct` becomes true for the rows that did not reach their tolerance.
  void Iterate(const float* b, float* solution, int64_t most) {
    const int64_t D = tile->head->D;
    int64_t active = 0;
    Zero(solution, tile->rows * D);
    for (int64_t r = 0; r < tile->rows; r++) {
      direct[r] = false;
      const double rr = Dot(b + r * D, b + r * D, D);
      if (rr == 0) continue;
      row_of[active] = r;
      squared[active] = rr;
      target[active] = options->tolerance * options->tolerance * rr;
      Zero(x + active * D, D);
      memcpy(residual + active * D, b + r * D, D * sizeof(float));
      memcpy(direction + active * D, b + r * D, D * sizeof(float));
      active++;
    }
    for (int64_t iteration = 0; active > 0; iteration++) {
      const bool last = iteration == most;
      if (!last) ApplyCovariance(active);
      // Downwards, so that the slot that fills a gap has already taken its step.
      for (int64_t slot = active - 1; slot >= 0; slot--) {
        const int outcome = last ? kMissed : Step(slot);
        if (outcome == kRunning) continue;
        memcpy(solution + row_of[slot] * D, x + slot * D, D * sizeof(float));
        direct[row_of[slot]] = outcome == kMissed;
        MoveSlot(--active, slot);
      }
    }
  }

  enum { kRunning, kConverged, kMissed };

  int Step(int64_t slot) {
    const int64_t D = tile->head->D;
    float *xs = x + slot * D, *rs = residual + slot * D, *us = direction + slot * D, *as = image + slot * D;
    const double curvature = Dot(us, as, D);
    if (!(curvature > 0)) return kMissed;
    const float alpha = static_cast<float>(squared[slot] / curvature);
    for (int64_t d = 0; d < D; d++) {
      xs[d] += alpha * us[d];
      rs[d] -= alpha * as[d];
    }
    const double next = Dot(rs, rs, D);
    if (next <= target[slot]) return kConverged;
    const float beta = static_cast<float>(next / squared[slot]);
    for (int64_t d = 0; d < D; d++) us[d] = rs[d] + beta * us[d];
    squared[slot] = next;
    return kRunning;
  }

  void MoveSlot(int64_t from, int64_t to) {
    if (from == to) return;
    const int64_t D = tile->head->D;
    float* const states[] = {x, residual, direction};
    for (float* state : states) memcpy(state + to * D, state + from * D, D * sizeof(float));
    row_of[to] = row_of[from];
    squared[to] = squared[from];
    target[to] = target[from];
  }

  // image = (C + ridge I) direction for the first `active` slots; C is applied, never formed.
  void ApplyCovariance(int64_t active) {
    const int64_t D = tile->head->D;
    double sums[kBlockQ];
    float shifts[kBlockQ];
    for (int64_t slot = 0; slot < active; slot++) {
      sums[slot] = 0;
      shifts[slot] = static_cast<float>(Dot(direction + slot * D, tile->kbar + row_of[slot] * D, D));
    }
    Zero(image, active * D);
    for (int64_t b = 0; b < tile->blocks; b++) {
      const float* columns = tile->head->key_columns + b * kBlockK * D;
      Multiply(block, kBlockK, Strided<float>{direction, D, 1}, columns, kBlockK, active, kBlockK, D);
      for (int64_t slot = 0; slot < active; slot++) {
        const float* p = tile->weights + row_of[slot] * tile->stride + b * kBlockK;
        float* w = block + slot * kBlockK;
        Vector<float> sum{};
        for (int64_t j = 0; j < kBlockK; j += kLanes<float>) {
          const Vector<float> weight = Load(p + j) * (Load(w + j) - shifts[slot]);
          Store(w + j, weight);
          sum += weight;
        }
        sums[slot] += Sum(sum);
      }
      const float* keys = tile->head->key + b * kBlockK * D;
      MultiplyAdd(image, D, Strided<float>{block, kBlockK, 1}, keys, D, active, D, kBlockK);
    }
    for (int64_t slot = 0; slot < active; slot++) {
      const float lambda = ridge[row_of[slot]];
      const float sum = static_cast<float>(sums[slot]);
      const float* kbar = tile->kbar + row_of[slot] * D;
      for (int64_t d = 0; d < D; d++) image[slot * D + d] += lambda * direction[slot * D + d] - sum * kbar[d];
    }
  }

  void Direct(int64_t r, const float* b, float* solution, bool from_query) {
    const Head& head = *tile->head;
    const int64_t D = head.problem->dims.D, padded = head.D;
    double* y = exact + r * padded;
    Zero(y, padded);
    Zero(solution + r * padded, padded);
    if (Dot(b + r * padded, b + r * padded, padded) == 0) return;
    FormCovariance(r);
    for (int64_t d = 0; d < D; d++) {
      const double q = static_cast<double>(tile->query[r * padded + d]) - head.centre[d];
      y[d] = from_query ? q - mean[d] : b[r * padded + d];
    }
    Factor(D, padded);
    for (int64_t i = 0; i < D; i++) y[i] = (y[i] - Dot(matrix + i * padded, y, i)) / matrix[i * padded + i];
    for (int64_t i = D - 1; i >= 0; i--) {
      y[i] /= matrix[i * padded + i];
      for (int64_t k = 0; k < i; k++) y[k] -= matrix[i * padded + k] * y[i];
    }
    for (int64_t d = 0; d < D; d++) solution[r * padded + d] = static_cast<float>(y[d]);
  }

  // C + ridge I of a row, and its mean key: exact for the weights as they are rounded, whose sum is not quite 1.
  void FormCovariance(int64_t r) {
    const int64_t D = tile->head->D;
    double total = 0;
    Zero(matrix, D * D);
    Zero(mean, D);
    for (int64_t b = 0; b < tile->blocks; b++) {
      const float* p = tile->weights + r * tile->stride + b * kBlockK;
      const float* k = tile->head->key + b * kBlockK * D;
      for (int64_t j = 0; j < kBlockK; j++) {
        const double weight = p[j];
        total += weight;
        for (int64_t d = 0; d < D; d++) {
          const double number = k[j * D + d];
          plain[j * D + d] = number;
          weighted[j * D + d] = weight * number;
          mean[d] += weight * number;
        }
      }
      // The lower triangle, in panels of rows so that the upper one costs little.
      for (int64_t a = 0; a < D; a += kPad) {
        MultiplyAdd(matrix + a * D, D, Strided<double>{weighted + a, 1, D}, plain, D, kPad, a + kPad, kBlockK);
      }
    }
    for (int64_t d = 0; d < D; d++) mean[d] /= total;
    for (int64_t a = 0; a < D; a++) {
      for (int64_t c = 0; c <= a; c++) matrix[a * D + c] = matrix[a * D + c] / total - mean[a] * mean[c];
      matrix[a * D + a] += ridge[r];
    }
    smallest_ = ridge[r];
  }

  // Cholesky. No pivot is below the smallest eigenvalue, which is at least the ridge; only rounding can go below it.
  void Factor(int64_t n, int64_t stride) {
    for (int64_t j = 0; j < n; j++) {
      double* row = matrix + j * stride;
      const double diagonal = sqrt(Max(row[j] - Dot(row, row, j), smallest_));
      row[j] = diagonal;
      for (int64_t i = j + 1; i < n; i++) {
        double* lower = matrix + i * stride;
        lower[j] = (lower[j] - Dot(lower, row, j)) / diagonal;
      }
    }
  }

  double smallest_;
};

}  // namespace TFJS_LLA_ISA
}  // namespace tfjs_lla
