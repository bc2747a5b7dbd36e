import {
  addTo,
  combineValues,
  dot,
  emptyGradient,
  keysOf,
  rowOf,
  rowsOf,
  scatterWeights,
  softmaxWeights,
  valuesOf,
  weightedSum,
} from '../common/reference.js';
import type { Forward, Row, ScoredGradient, ScoredProblem } from '../common/reference.js';

/** A call of Parallax: `probe [heads, Tq, D]` is the paper's `r`. */
export interface ParallaxProblem extends ScoredProblem {
  readonly probe: ArrayLike<number>;
}

/** Gradient of Parallax with `dprobe [heads, Tq, D]`. */
export interface ParallaxGradient extends ScoredGradient {
  readonly dprobe: Float64Array;
}

/** What forward and gradient both need of one row: `p`, `kbar`, `y_j = k_j - kbar`, `x = -r`, `tau_j = 1 + y_j.x`. */
function statistics(problem: ParallaxProblem, row: Row) {
  const { D } = problem.dims;
  const p = softmaxWeights(problem, row);
  const k = keysOf(problem, row);
  const kbar = weightedSum(p, k, D);
  const y = k.map((kj) => kj.map((c, d) => c - kbar[d]));
  const x = rowOf(problem.probe, D, row.index).map((r) => -r);
  const tau = y.map((yj) => 1 + dot(yj, x));
  return { p, k, y, x, tau };
}

function rowWeights(problem: ParallaxProblem, row: Row): Float64Array {
  const { p, tau } = statistics(problem, row);
  return p.map((pj, j) => pj * tau[j]);
}

/** Parallax (arXiv 2605.29157): `o_i = sum_j p_ij (1 - (k_j - kbar_i).r_i) v_j`, `kbar_i = sum_j p_ij k_j`. */
export function forward(problem: ParallaxProblem): Forward {
  return combineValues(problem, rowWeights);
}

/** The effective weights `p_ij tau_ij`, `[heads, Tq, Tk]`. */
export function weights(problem: ParallaxProblem): Float64Array {
  return scatterWeights(problem, rowWeights);
}

/** Gradient for a given probe `x = -r`: `de_j = p_j (tau_j (Gamma_j - Gbar) - N.x)`, `N = sum_j p_j Gamma_j y_j`, `dr = -N`. */
export function gradient(problem: ParallaxProblem, dout: Float64Array): ParallaxGradient {
  const { dims, scale } = problem;
  const grad = emptyGradient(dims);
  const dkeyBias = new Float64Array(dims.heads * dims.Tk);
  const dprobe = new Float64Array(dims.heads * dims.Tq * dims.D);
  for (const row of rowsOf(problem)) {
    const { p, k, y, x, tau } = statistics(problem, row);
    const g = rowOf(dout, dims.Dv, row.index);
    const Gamma = valuesOf(problem, row).map((v) => dot(g, v));
    const Gbar = dot(p, Gamma);
    const N = weightedSum(
      p.map((pj, j) => pj * (Gamma[j] - Gbar)),
      y,
      dims.D,
    );
    const h = dot(N, x);
    row.keys.forEach((key, j) => {
      const de = p[j] * (tau[j] * (Gamma[j] - Gbar) - h);
      addTo(grad.dquery, row.index, scale * de, k[j]);
      addTo(grad.dkey, key, scale * de, row.query);
      addTo(grad.dkey, key, p[j] * (Gamma[j] - Gbar), x);
      addTo(grad.dvalue, key, p[j] * tau[j], g);
      dkeyBias[key] += de;
    });
    addTo(dprobe, row.index, -1, N);
  }
  return { ...grad, dkeyBias, dprobe };
}
