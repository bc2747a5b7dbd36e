import { emptyGradient, rowOf, rowsOf } from '../kernels/common/reference.js';
import type { Forward, Row } from '../kernels/common/reference.js';
import type { LocalLinearGradient, LocalLinearProblem } from '../kernels/local_linear_attention/reference.js';

/*
 * Local linear attention in the covariance form with the direct solver, untiled, every intermediate rounded to float32.
 * operator.md (Numerics) measures kernels by it where the ridge is small: at most twice its error plus 1e-5.
 */

const f = Math.fround;

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum = f(sum + f(a[d] * b[d]));
  return sum;
}

/** `target[index, :] += factor * vector`. */
function addTo(target: Float32Array | Float64Array, index: number, factor: number, vector: ArrayLike<number>): void {
  const start = index * vector.length;
  for (let d = 0; d < vector.length; d++) target[start + d] = f(target[start + d] + f(factor * vector[d]));
}

/** Lower Cholesky factor of `matrix [n, n]`. */
function cholesky(matrix: Float32Array, n: number): Float32Array {
  const L = matrix.slice();
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      for (let c = 0; c < j; c++) L[i * n + j] -= f(L[i * n + c] * L[j * n + c]);
      L[i * n + j] = j < i ? L[i * n + j] / L[j * n + j] : Math.sqrt(L[i * n + i]);
    }
  }
  return L;
}

function solve(L: Float32Array, b: Float32Array): Float32Array {
  const n = b.length;
  const x = b.slice();
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < i; c++) x[i] -= f(L[i * n + c] * x[c]);
    x[i] /= L[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let c = i + 1; c < n; c++) x[i] -= f(L[c * n + i] * x[c]);
    x[i] /= L[i * n + i];
  }
  return x;
}

/** `p`, `y`, the factor of `C + ridge I`, the probe `x` and `tau` of one row. */
function statistics(problem: LocalLinearProblem, row: Row) {
  const { D } = problem.dims;
  const query = Float32Array.from(row.query);
  const k = row.keys.map((key) => Float32Array.from(rowOf(problem.key, D, key)));
  const scores = Float32Array.from(k, (kj, j) =>
    f(f(f(problem.scale) * dot(query, kj)) + f(problem.keyBias?.[row.keys[j]] ?? 0)),
  );
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const w = scores.map((score) => Math.exp(f(score - largest)));
  const omega = w.reduce((a, b) => f(a + b), 0);
  const p = w.map((wj) => wj / omega);
  const kbar = new Float32Array(D);
  k.forEach((kj, j) => {
    addTo(kbar, 0, p[j], kj);
  });
  const y = k.map((kj) => kj.map((c, d) => c - kbar[d]));
  const A = new Float32Array(D * D);
  y.forEach((yj, j) => {
    for (let d = 0; d < D; d++) addTo(A, d, f(p[j] * yj[d]), yj);
  });
  const ridge = f(problem.ridge[row.index]);
  for (let d = 0; d < D; d++) A[d * D + d] += ridge;
  const L = cholesky(A, D);
  const x = solve(
    L,
    query.map((c, d) => c - kbar[d]),
  );
  const tau = Float32Array.from(y, (yj) => 1 + dot(yj, x));
  return { query, k, p, y, ridge, L, x, tau };
}

/** The float32 output `[heads, Tq, Dv]`. */
export function forward(problem: LocalLinearProblem): Forward {
  const { heads, Tq, Dv } = problem.dims;
  const out = new Float64Array(heads * Tq * Dv);
  for (const row of rowsOf(problem)) {
    const { p, tau } = statistics(problem, row);
    row.keys.forEach((key, j) => {
      addTo(out, row.index, f(p[j] * tau[j]), rowOf(problem.value, Dv, key));
    });
  }
  return { out };
}

/** The float32 gradients for the cotangent `dout [heads, Tq, Dv]`. */
export function gradient(problem: LocalLinearProblem, dout: ArrayLike<number>): LocalLinearGradient {
  const { dims } = problem;
  const scale = f(problem.scale);
  const grad = emptyGradient(dims);
  const dkeyBias = new Float64Array(dims.heads * dims.Tk);
  const dridge = new Float64Array(dims.heads * dims.Tq);
  for (const row of rowsOf(problem)) {
    const { query, k, p, y, ridge, L, x, tau } = statistics(problem, row);
    const g = Float32Array.from(rowOf(dout, dims.Dv, row.index));
    const Gamma = Float32Array.from(row.keys, (key) => dot(g, rowOf(problem.value, dims.Dv, key)));
    const Gbar = dot(p, Gamma);
    const N = new Float32Array(dims.D);
    y.forEach((yj, j) => {
      addTo(N, 0, f(p[j] * f(Gamma[j] - Gbar)), yj);
    });
    const u = solve(L, N);
    const ux = dot(u, x);
    row.keys.forEach((key, j) => {
      const eta = f(f(Gamma[j] - Gbar) - dot(y[j], u));
      const de = f(p[j] * f(f(tau[j] * eta) - f(ridge * ux)));
      addTo(grad.dquery, row.index, f(scale * de), k[j]);
      addTo(grad.dkey, key, f(scale * de), query);
      addTo(grad.dkey, key, f(p[j] * eta), x);
      addTo(grad.dkey, key, -f(p[j] * tau[j]), u);
      addTo(grad.dvalue, key, f(p[j] * tau[j]), g);
      dkeyBias[key] = f(dkeyBias[key] + de);
    });
    addTo(grad.dquery, row.index, 1, u);
    dridge[row.index] = -ux;
  }
  return { ...grad, dkeyBias, dridge };
}
