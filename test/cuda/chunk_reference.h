// Linear and mesa attention in double, row by row, after their definitions (operator READMEs).
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "reference.h"

struct ChunkReference {
  std::vector<double> out, dquery, dkey, dvalue;
};

// One row's view of what it attends to.
struct RowView {
  const Inputs& in;
  int head, row;

  bool Sees(int j) const {
    const Sizes& s = in.sizes;
    const int bound = s.causal ? s.keys - s.queries + row + 1 : s.keys;
    return j < bound && (in.mask.empty() || in.mask[head / (s.heads / s.batch) * s.keys + j]);
  }
  size_t KeyRow(int j) const { return static_cast<size_t>(head) * in.sizes.keys + j; }
};

inline double Feature(int map, double x) {
  return map == 2 || (map == 1 && x > 0) ? x : map == 1 ? 0 : x > 0 ? x + 1 : std::exp(x);
}
inline double FeatureSlope(int map, double x) { return map == 2 || x > 0 ? 1 : map == 1 ? 0 : std::exp(x); }

// `map`: as ChunkFeatureMap.
inline ChunkReference LinearReference(const Inputs& in, int map, bool normalize, const std::vector<float>& dout) {
  const Sizes& s = in.sizes;
  const size_t rows = static_cast<size_t>(s.heads) * s.queries, keys = static_cast<size_t>(s.heads) * s.keys;
  ChunkReference r;
  r.out.assign(rows * s.value_dim, 0);
  r.dquery.assign(rows * s.dim, 0);
  r.dkey.assign(keys * s.dim, 0);
  r.dvalue.assign(keys * s.value_dim, 0);
  for (size_t at = 0; at < rows; at++) {
    const RowView view{in, static_cast<int>(at / s.queries), static_cast<int>(at % s.queries)};
    const float *q = &in.query[at * s.dim], *g = &dout[at * s.value_dim];
    double* o = &r.out[at * s.value_dim];
    std::vector<double> a(s.keys, 0);
    double total = 0;
    for (int j = 0; j < s.keys; j++) {
      if (!view.Sees(j)) continue;
      const float* k = &in.key[view.KeyRow(j) * s.dim];
      for (int d = 0; d < s.dim; d++) a[j] += Feature(map, q[d]) * Feature(map, k[d]);
      total += a[j];
      for (int d = 0; d < s.value_dim; d++) o[d] += a[j] * in.value[view.KeyRow(j) * s.value_dim + d];
    }
    const double f = !normalize ? in.scale : total != 0 ? 1 / total : 0;
    double mean = 0;
    for (int d = 0; d < s.value_dim; d++) mean += g[d] * (o[d] *= f);
    for (int j = 0; j < s.keys; j++) {
      if (!view.Sees(j)) continue;
      const float *k = &in.key[view.KeyRow(j) * s.dim], *v = &in.value[view.KeyRow(j) * s.value_dim];
      double da = normalize ? -mean : 0;
      for (int d = 0; d < s.value_dim; d++) {
        da += static_cast<double>(g[d]) * v[d];
        r.dvalue[view.KeyRow(j) * s.value_dim + d] += a[j] * f * g[d];
      }
      da *= f;
      for (int d = 0; d < s.dim; d++) {
        r.dquery[at * s.dim + d] += da * Feature(map, k[d]) * FeatureSlope(map, q[d]);
        r.dkey[view.KeyRow(j) * s.dim + d] += da * Feature(map, q[d]) * FeatureSlope(map, k[d]);
      }
    }
  }
  return r;
}

// Mesa attention; `ridge` [heads / batch, dim]. `probe`: the solutions x.
struct MesaReference : ChunkReference {
  std::vector<double> probe, dridge;
};

inline MesaReference ReferenceMesa(const Inputs& in, const std::vector<float>& ridge, const std::vector<float>& dout) {
  const Sizes& s = in.sizes;
  const size_t rows = static_cast<size_t>(s.heads) * s.queries, keys = static_cast<size_t>(s.heads) * s.keys;
  MesaReference r;
  r.out.assign(rows * s.value_dim, 0);
  r.probe.assign(rows * s.dim, 0);
  r.dquery.assign(rows * s.dim, 0);
  r.dkey.assign(keys * s.dim, 0);
  r.dvalue.assign(keys * s.value_dim, 0);
  r.dridge.assign(ridge.size(), 0);
  for (size_t at = 0; at < rows; at++) {
    const RowView view{in, static_cast<int>(at / s.queries), static_cast<int>(at % s.queries)};
    const float *q = &in.query[at * s.dim], *g = &dout[at * s.value_dim];
    const size_t ridge_at = view.head % (s.heads / s.batch) * s.dim;
    std::vector<double> system(s.dim * s.dim, 0), x(q, q + s.dim), u(s.dim, 0), gamma(s.keys, 0);
    bool blind = true;
    for (int d = 0; d < s.dim; d++) system[d * s.dim + d] = ridge[ridge_at + d];
    for (int j = 0; j < s.keys; j++) {
      if (!view.Sees(j)) continue;
      blind = false;
      const float *k = &in.key[view.KeyRow(j) * s.dim], *v = &in.value[view.KeyRow(j) * s.value_dim];
      for (int d = 0; d < s.value_dim; d++) gamma[j] += static_cast<double>(g[d]) * v[d];
      for (int a = 0; a < s.dim; a++) {
        for (int b = 0; b < s.dim; b++) system[a * s.dim + b] += static_cast<double>(k[a]) * k[b];
        u[a] += gamma[j] * k[a];
      }
    }
    if (blind) continue;
    SolveDefinite(system, x);
    SolveDefinite(system, u);
    for (int d = 0; d < s.dim; d++) {
      r.probe[at * s.dim + d] = x[d];
      r.dquery[at * s.dim + d] = u[d];
      r.dridge[ridge_at + d] -= u[d] * x[d];
    }
    for (int j = 0; j < s.keys; j++) {
      if (!view.Sees(j)) continue;
      const float *k = &in.key[view.KeyRow(j) * s.dim], *v = &in.value[view.KeyRow(j) * s.value_dim];
      double kx = 0, ku = 0;
      for (int d = 0; d < s.dim; d++) {
        kx += k[d] * x[d];
        ku += k[d] * u[d];
      }
      for (int d = 0; d < s.value_dim; d++) {
        r.out[at * s.value_dim + d] += kx * v[d];
        r.dvalue[view.KeyRow(j) * s.value_dim + d] += kx * g[d];
      }
      for (int d = 0; d < s.dim; d++) {
        r.dkey[view.KeyRow(j) * s.dim + d] += (gamma[j] - ku) * x[d] - kx * u[d];
      }
    }
  }
  return r;
}
