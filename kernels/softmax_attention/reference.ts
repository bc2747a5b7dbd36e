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
} from '../common/reference.js';
import type { Forward, ScoredGradient, ScoredProblem } from '../common/reference.js';

/** Softmax attention: `o_i = sum_j p_ij v_j`, `p_ij = softmax_j(s q_i.k_j + b_j)` over the visible keys. */
export function forward(problem: ScoredProblem): Forward {
  return combineValues(problem, softmaxWeights);
}

/** The softmax weights `p [heads, Tq, Tk]`. */
export function weights(problem: ScoredProblem): Float64Array {
  return scatterWeights(problem, softmaxWeights);
}

/** Gradient for the cotangent `dout [heads, Tq, Dv]`: `de_j = p_j (Gamma_j - Gbar)`, `Gamma_j = g.v_j`. */
export function gradient(problem: ScoredProblem, dout: Float64Array): ScoredGradient {
  const { dims, scale } = problem;
  const grad = emptyGradient(dims);
  const dkeyBias = new Float64Array(dims.heads * dims.Tk);
  for (const row of rowsOf(problem)) {
    const p = softmaxWeights(problem, row);
    const k = keysOf(problem, row);
    const g = rowOf(dout, dims.Dv, row.index);
    const Gamma = valuesOf(problem, row).map((v) => dot(g, v));
    const Gbar = dot(p, Gamma);
    row.keys.forEach((key, j) => {
      const de = p[j] * (Gamma[j] - Gbar);
      addTo(grad.dquery, row.index, scale * de, k[j]);
      addTo(grad.dkey, key, scale * de, row.query);
      addTo(grad.dvalue, key, p[j], g);
      dkeyBias[key] += de;
    });
  }
  return { ...grad, dkeyBias };
}
