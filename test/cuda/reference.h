// The family in double, row by row, after its definition (kernels/local_linear_attention/README.md).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

struct Sizes {
  int batch, heads, queries, keys, dim, value_dim;
  bool causal;
};

struct Inputs {
  Sizes sizes;
  std::vector<float> query, key, value, probe, ridge, bias;  // probe, ridge, bias: empty where not given
  std::vector<unsigned char> mask;                           // empty: every key is visible
  float scale, ridge_value;
};

enum class Family { kSoftmax, kParallax, kLocalLinear };

// Solves a x = b for a symmetric positive definite a [n, n]; x comes out in b.
inline void SolveDefinite(std::vector<double> a, std::vector<double>& b) {
  const int n = static_cast<int>(b.size());
  for (int j = 0; j < n; j++) {
    for (int k = 0; k < j; k++) a[j * n + j] -= a[j * n + k] * a[j * n + k];
    a[j * n + j] = std::sqrt(a[j * n + j]);
    for (int i = j + 1; i < n; i++) {
      for (int k = 0; k < j; k++) a[i * n + j] -= a[i * n + k] * a[j * n + k];
      a[i * n + j] /= a[j * n + j];
    }
  }
  for (int i = 0; i < n; i++) {
    for (int k = 0; k < i; k++) b[i] -= a[i * n + k] * b[k];
    b[i] /= a[i * n + i];
  }
  for (int i = n - 1; i >= 0; i--) {
    for (int k = i + 1; k < n; k++) b[i] -= a[k * n + i] * b[k];
    b[i] /= a[i * n + i];
  }
}

// What the reference knows of one row.
struct RowReference {
  bool blind;
  std::vector<double> weights, mean_key, probe, system;  // system: C + ridge I, empty unless solved
  double ridge;
};

inline RowReference ReferenceRow(const Inputs& in, Family family, int head, int row) {
  const Sizes& s = in.sizes;
  RowReference out;
  const int bound = s.causal ? std::min(s.keys, s.keys - s.queries + row + 1) : s.keys;
  out.weights.assign(s.keys, 0);
  out.mean_key.assign(s.dim, 0);
  out.probe.assign(s.dim, 0);
  const float* q = &in.query[(head * s.queries + row) * s.dim];
  double top = -1e300, total = 0;
  std::vector<double> score(s.keys, -1e300);
  for (int j = 0; j < bound; j++) {
    if (!in.mask.empty() && !in.mask[head / (s.heads / s.batch) * s.keys + j]) continue;
    double dot = 0;
    for (int d = 0; d < s.dim; d++) dot += static_cast<double>(q[d]) * in.key[(head * s.keys + j) * s.dim + d];
    score[j] = in.scale * dot + (in.bias.empty() ? 0 : in.bias[head * s.keys + j]);
    top = std::max(top, score[j]);
  }
  out.blind = top == -1e300;
  if (out.blind) return out;
  for (int j = 0; j < s.keys; j++) {
    out.weights[j] = score[j] == -1e300 ? 0 : std::exp(score[j] - top);
    total += out.weights[j];
  }
  for (int j = 0; j < s.keys; j++) {
    out.weights[j] /= total;
    for (int d = 0; d < s.dim; d++) out.mean_key[d] += out.weights[j] * in.key[(head * s.keys + j) * s.dim + d];
  }
  if (family == Family::kParallax) {
    for (int d = 0; d < s.dim; d++) out.probe[d] = -static_cast<double>(in.probe[(head * s.queries + row) * s.dim + d]);
  }
  if (family == Family::kLocalLinear) {
    out.ridge = in.ridge.empty() ? in.ridge_value : in.ridge[head * s.queries + row];
    out.system.assign(s.dim * s.dim, 0);
    std::vector<double> y(s.dim);
    for (int j = 0; j < s.keys; j++) {
      if (out.weights[j] == 0) continue;
      for (int d = 0; d < s.dim; d++) y[d] = in.key[(head * s.keys + j) * s.dim + d] - out.mean_key[d];
      for (int a = 0; a < s.dim; a++) {
        for (int b = 0; b < s.dim; b++) out.system[a * s.dim + b] += out.weights[j] * y[a] * y[b];
      }
    }
    for (int d = 0; d < s.dim; d++) {
      out.system[d * s.dim + d] += out.ridge;
      out.probe[d] = q[d] - out.mean_key[d];
    }
    SolveDefinite(out.system, out.probe);
  }
  return out;
}

inline double DotMinusMean(const Inputs& in, const RowReference& row, int head, int j, const std::vector<double>& x) {
  double dot = 0;
  for (int d = 0; d < in.sizes.dim; d++) {
    dot += (in.key[(head * in.sizes.keys + j) * in.sizes.dim + d] - row.mean_key[d]) * x[d];
  }
  return dot;
}

// out [heads, queries, value_dim].
inline std::vector<double> ReferenceForward(const Inputs& in, Family family) {
  const Sizes& s = in.sizes;
  std::vector<double> out(static_cast<size_t>(s.heads) * s.queries * s.value_dim, 0);
  for (int head = 0; head < s.heads; head++) {
    for (int i = 0; i < s.queries; i++) {
      const RowReference row = ReferenceRow(in, family, head, i);
      if (row.blind) continue;
      for (int j = 0; j < s.keys; j++) {
        if (row.weights[j] == 0) continue;
        const double weight = row.weights[j] * (1 + DotMinusMean(in, row, head, j, row.probe));
        for (int d = 0; d < s.value_dim; d++) {
          out[(head * s.queries + i) * s.value_dim + d] += weight * in.value[(head * s.keys + j) * s.value_dim + d];
        }
      }
    }
  }
  return out;
}

struct GradientReference {
  std::vector<double> dquery, dkey, dvalue, dbias, dprobe, dridge;
};

// For a cotangent dout [heads, queries, value_dim].
inline GradientReference ReferenceGradient(const Inputs& in, Family family, const std::vector<float>& dout) {
  const Sizes& s = in.sizes;
  const size_t rows = static_cast<size_t>(s.heads) * s.queries, keys = static_cast<size_t>(s.heads) * s.keys;
  GradientReference out;
  out.dquery.assign(rows * s.dim, 0);
  out.dkey.assign(keys * s.dim, 0);
  out.dvalue.assign(keys * s.value_dim, 0);
  out.dbias.assign(keys, 0);
  out.dprobe.assign(family == Family::kParallax ? rows * s.dim : 0, 0);
  out.dridge.assign(family == Family::kLocalLinear ? rows : 0, 0);
  for (int head = 0; head < s.heads; head++) {
    for (int i = 0; i < s.queries; i++) {
      const RowReference row = ReferenceRow(in, family, head, i);
      if (row.blind) continue;
      const size_t at = static_cast<size_t>(head) * s.queries + i;
      const float* g = &dout[at * s.value_dim];
      std::vector<double> gamma(s.keys, 0), n(s.dim, 0), u(s.dim, 0);
      double mean = 0;
      for (int j = 0; j < s.keys; j++) {
        for (int d = 0; d < s.value_dim; d++) {
          gamma[j] += static_cast<double>(g[d]) * in.value[(head * s.keys + j) * s.value_dim + d];
        }
        mean += row.weights[j] * gamma[j];
      }
      for (int j = 0; j < s.keys; j++) {
        for (int d = 0; d < s.dim; d++) {
          n[d] += row.weights[j] * (gamma[j] - mean) * (in.key[(head * s.keys + j) * s.dim + d] - row.mean_key[d]);
        }
      }
      double constant = 0;
      if (family == Family::kLocalLinear) {
        u = n;
        SolveDefinite(row.system, u);
        for (int d = 0; d < s.dim; d++) out.dridge[at] -= u[d] * row.probe[d];
        constant = -row.ridge * out.dridge[at];
      } else {
        for (int d = 0; d < s.dim; d++) constant += n[d] * row.probe[d];
      }
      if (family == Family::kParallax) {
        for (int d = 0; d < s.dim; d++) out.dprobe[at * s.dim + d] = -n[d];
      }
      for (int d = 0; d < s.dim; d++) out.dquery[at * s.dim + d] = u[d];
      for (int j = 0; j < s.keys; j++) {
        if (row.weights[j] == 0) continue;
        const size_t to = static_cast<size_t>(head) * s.keys + j;
        const double tau = 1 + DotMinusMean(in, row, head, j, row.probe);
        const double eta = gamma[j] - mean - DotMinusMean(in, row, head, j, u), p = row.weights[j];
        const double score = p * (tau * eta - constant);
        out.dbias[to] += score;
        for (int d = 0; d < s.dim; d++) {
          out.dquery[at * s.dim + d] += in.scale * score * in.key[to * s.dim + d];
          out.dkey[to * s.dim + d] +=
              in.scale * score * in.query[at * s.dim + d] + p * (eta * row.probe[d] - tau * u[d]);
        }
        for (int d = 0; d < s.value_dim; d++) out.dvalue[to * s.value_dim + d] += p * tau * g[d];
      }
    }
  }
  return out;
}
