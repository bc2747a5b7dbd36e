import {
  addTo,
  checkedRidge,
  choleskySolve,
  combineValues,
  dot,
  emptyGradient,
  keysOf,
  rowOf,
  rowsOf,
  scatterWeights,
  secondMoment,
  softmaxWeights,
  unnormalisedWeights,
  valuesOf,
  weightedSum,
} from '../common/reference.js';
import type { Forward, Row, ScoredGradient, ScoredProblem } from '../common/reference.js';

/** A call of local linear attention: `ridge [heads, Tq]`, relative to the sum of the row's weights. */
export interface LocalLinearProblem extends ScoredProblem {
  readonly ridge: ArrayLike<number>;
}

/** Gradient of local linear attention with `dridge [heads, Tq]`. */
export interface LocalLinearGradient extends ScoredGradient {
  readonly dridge: Float64Array;
}

/**
 * The weights of one row in the paper's form: `w_j = exp(s q.k_j + b_j - m)`, `z_j = k_j - q`, `omega = sum w`,
 * `mu = sum w z`, `Sigma = sum w z z^T + ridge omega I`, `rho = Sigma^-1 mu`,
 * `weight_j = w_j (1 - z_j.rho) / (omega - mu.rho)`.
 */
function rowWeights(problem: LocalLinearProblem, row: Row): Float64Array {
  const { D } = problem.dims;
  const w = unnormalisedWeights(problem, row);
  const z = keysOf(problem, row).map((k) => k.map((c, d) => c - row.query[d]));
  const omega = w.reduce((a, b) => a + b);
  const mu = weightedSum(w, z, D);
  const ridge = checkedRidge(problem.ridge[row.index]) * omega;
  const rho = choleskySolve(secondMoment(w, z, new Float64Array(D).fill(ridge)), mu);
  return w.map((wj, j) => (wj * (1 - dot(z[j], rho))) / (omega - dot(mu, rho)));
}

/**
 * Local linear attention (arXiv 2510.01450): the intercept of a ridge regression of `v` on `k - q`, weighted by `w`.
 * `out [heads, Tq, Dv]`.
 */
export function forward(problem: LocalLinearProblem): Forward {
  return combineValues(problem, rowWeights);
}

/** The effective weights (`p_ij tau_ij` of the covariance form), `[heads, Tq, Tk]`. */
export function weights(problem: LocalLinearProblem): Float64Array {
  return scatterWeights(problem, rowWeights);
}

/**
 * The exact gradient for the cotangent `dout [heads, Tq, Dv]`, ridge included: the closed form over the covariance form,
 * `C = sum p y y^T`, `x = (C + ridge I)^-1 (q - kbar)`, `u = (C + ridge I)^-1 N`, `eta_j = Gamma_j - Gbar - y_j.u`,
 * `de_j = p_j (tau_j eta_j - ridge u.x)`.
 */
export function gradient(problem: LocalLinearProblem, dout: Float64Array): LocalLinearGradient {
  const { dims, scale } = problem;
  const grad = emptyGradient(dims);
  const dkeyBias = new Float64Array(dims.heads * dims.Tk);
  const dridge = new Float64Array(dims.heads * dims.Tq);
  for (const row of rowsOf(problem)) {
    const p = softmaxWeights(problem, row);
    const k = keysOf(problem, row);
    const kbar = weightedSum(p, k, dims.D);
    const y = k.map((kj) => kj.map((c, d) => c - kbar[d]));
    const ridge = checkedRidge(problem.ridge[row.index]);
    const A = secondMoment(p, y, new Float64Array(dims.D).fill(ridge));
    const x = choleskySolve(
      A,
      row.query.map((c, d) => c - kbar[d]),
    );
    const g = rowOf(dout, dims.Dv, row.index);
    const Gamma = valuesOf(problem, row).map((v) => dot(g, v));
    const Gbar = dot(p, Gamma);
    const N = weightedSum(
      p.map((pj, j) => pj * (Gamma[j] - Gbar)),
      y,
      dims.D,
    );
    const u = choleskySolve(A, N);
    row.keys.forEach((key, j) => {
      const tau = 1 + dot(y[j], x);
      const eta = Gamma[j] - Gbar - dot(y[j], u);
      const de = p[j] * (tau * eta - ridge * dot(u, x));
      addTo(grad.dquery, row.index, scale * de, k[j]);
      addTo(grad.dkey, key, scale * de, row.query);
      addTo(grad.dkey, key, p[j] * eta, x);
      addTo(grad.dkey, key, -p[j] * tau, u);
      addTo(grad.dvalue, key, p[j] * tau, g);
      dkeyBias[key] += de;
    });
    addTo(grad.dquery, row.index, 1, u);
    dridge[row.index] = -dot(u, x);
  }
  return { ...grad, dkeyBias, dridge };
}
