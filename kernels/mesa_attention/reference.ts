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
  valuesOf,
  weightedSum,
} from '../common/reference.js';
import type { Forward, Gradient, Problem, Row } from '../common/reference.js';

/** A call of mesa attention: `ridge [heads, D]` is added to the diagonal of the sum `K^T K`. */
export interface MesaProblem extends Problem {
  readonly ridge: ArrayLike<number>;
}

/** Gradient of mesa attention with `dridge [heads, D]`. */
export interface MesaGradient extends Gradient {
  readonly dridge: Float64Array;
}

/** The visible keys of one row and `H = K^T K + diag(ridge)`; NaN all over where one ridge of the head is bad. */
function statistics(problem: MesaProblem, row: Row) {
  const k = keysOf(problem, row);
  const ridge = rowOf(problem.ridge, problem.dims.D, row.head).map(checkedRidge);
  const bad = ridge.some(Number.isNaN);
  const H = secondMoment(new Float64Array(k.length).fill(1), k, bad ? ridge.fill(NaN) : ridge);
  return { k, H };
}

function rowWeights(problem: MesaProblem, row: Row): Float64Array {
  const { k, H } = statistics(problem, row);
  const x = choleskySolve(H, row.query);
  return Float64Array.from(k, (kj) => dot(kj, x));
}

/** Mesa attention (arXiv 2506.05233 without decay and gates): `o_i = V^T K (K^T K + diag(ridge))^-1 q_i`, visible keys. */
export function forward(problem: MesaProblem): Forward {
  return combineValues(problem, rowWeights);
}

/** The effective weights `k_j.x_i`, `x_i = (K^T K + diag(ridge))^-1 q_i`, `[heads, Tq, Tk]`. */
export function weights(problem: MesaProblem): Float64Array {
  return scatterWeights(problem, rowWeights);
}

/**
 * Gradient for `dout [heads, Tq, Dv]`: with `N = sum_j Gamma_j k_j`, `u = H^-1 N`, `dq = u`,
 * `dk_j += (Gamma_j - u.k_j) x - (k_j.x) u`, `dv_j += (k_j.x) g`, `dridge_d -= u_d x_d`.
 */
export function gradient(problem: MesaProblem, dout: Float64Array): MesaGradient {
  const { dims } = problem;
  const grad = emptyGradient(dims);
  const dridge = new Float64Array(dims.heads * dims.D);
  for (const row of rowsOf(problem)) {
    const { k, H } = statistics(problem, row);
    const x = choleskySolve(H, row.query);
    const g = rowOf(dout, dims.Dv, row.index);
    const Gamma = valuesOf(problem, row).map((v) => dot(g, v));
    const u = choleskySolve(H, weightedSum(Gamma, k, dims.D));
    addTo(grad.dquery, row.index, 1, u);
    row.keys.forEach((key, j) => {
      const weight = dot(k[j], x);
      addTo(grad.dkey, key, Gamma[j] - dot(u, k[j]), x);
      addTo(grad.dkey, key, -weight, u);
      addTo(grad.dvalue, key, weight, g);
    });
    addTo(
      dridge,
      row.head,
      -1,
      u.map((c, d) => c * x[d]),
    );
  }
  return { ...grad, dridge };
}
