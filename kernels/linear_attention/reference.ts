import {
  addTo,
  combineValues,
  dot,
  emptyGradient,
  keysOf,
  rowOf,
  rowsOf,
  scatterWeights,
  valuesOf,
  weightedSum,
} from '../common/reference.js';
import type { Forward, Gradient, Problem, Row } from '../common/reference.js';

export type FeatureMapName = 'elu+1' | 'relu' | 'identity';

/** A call of linear attention: `featureMap` is the element-wise `phi`. */
export interface LinearProblem extends Problem {
  readonly scale: number;
  readonly featureMap: FeatureMapName;
  readonly normalize: boolean;
}

interface FeatureMap {
  readonly phi: (x: number) => number;
  readonly derivative: (x: number) => number;
}

const featureMaps: Readonly<Record<FeatureMapName, FeatureMap>> = {
  'elu+1': {
    phi: (x) => (x > 0 ? x + 1 : Math.exp(x)),
    derivative: (x) => (x > 0 ? 1 : Math.exp(x)),
  },
  // `x < 0`, not `x > 0`: a NaN stays one.
  relu: {
    phi: (x) => (x < 0 ? 0 : x),
    derivative: (x) => (x <= 0 ? 0 : 1),
  },
  identity: { phi: (x) => x, derivative: () => 1 },
};

/** `a_j = s phi(q).phi(k_j)` over the visible keys of one row, and the normaliser `n = sum_j a_j` (1 without). */
function statistics(problem: LinearProblem, row: Row) {
  const { phi } = featureMaps[problem.featureMap];
  const phiQuery = row.query.map(phi);
  const phiKeys = keysOf(problem, row).map((k) => k.map(phi));
  const a = phiKeys.map((k) => problem.scale * dot(phiQuery, k));
  const normaliser = problem.normalize ? a.reduce((x, y) => x + y) : 1;
  return { phiQuery, phiKeys, a, normaliser };
}

function rowWeights(problem: LinearProblem, row: Row): Float64Array {
  const { a, normaliser } = statistics(problem, row);
  return Float64Array.from(a, (aj) => (normaliser === 0 ? 0 : aj / normaliser));
}

/** Linear attention: `o_i = sum_j a_ij v_j / n_i`, `a_ij = s phi(q_i).phi(k_j)`; zero where `n_i = 0`. */
export function forward(problem: LinearProblem): Forward {
  return combineValues(problem, rowWeights);
}

/** The effective weights `a_ij / n_i`, `[heads, Tq, Tk]`. */
export function weights(problem: LinearProblem): Float64Array {
  return scatterWeights(problem, rowWeights);
}

/** Gradient for `dout [heads, Tq, Dv]`: `da_ij = (g_i.v_j - [normalised] g_i.o_i) / n_i`, then through `phi`. */
export function gradient(problem: LinearProblem, dout: Float64Array): Gradient {
  const { dims, scale, normalize } = problem;
  const { derivative } = featureMaps[problem.featureMap];
  const grad = emptyGradient(dims);
  for (const row of rowsOf(problem)) {
    const { phiQuery, phiKeys, a, normaliser } = statistics(problem, row);
    if (normaliser === 0) continue;
    const k = keysOf(problem, row);
    const g = rowOf(dout, dims.Dv, row.index);
    const Gamma = valuesOf(problem, row).map((v) => dot(g, v));
    const Gbar = normalize ? dot(a, Gamma) / normaliser : 0;
    const da = Gamma.map((gamma) => (gamma - Gbar) / normaliser);
    const dphiQuery = weightedSum(da, phiKeys, dims.D);
    addTo(
      grad.dquery,
      row.index,
      scale,
      row.query.map((q, d) => derivative(q) * dphiQuery[d]),
    );
    row.keys.forEach((key, j) => {
      addTo(
        grad.dkey,
        key,
        scale * da[j],
        k[j].map((c, d) => derivative(c) * phiQuery[d]),
      );
      addTo(grad.dvalue, key, a[j] / normaliser, g);
    });
  }
  return grad;
}
