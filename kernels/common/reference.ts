import { maskRow, visibleKeys } from './dims.js';
import type { AttentionDims } from './dims.js';

/**
 * One attention call as the references take it: flat arrays, leading dimensions flattened to `heads`.
 *
 * `query [heads, Tq, D]`, `key [heads, Tk, D]`, `value [heads, Tk, Dv]`, `keyMask [batch, Tk]` (0 hides a key).
 */
export interface Problem {
  readonly dims: AttentionDims;
  readonly query: ArrayLike<number>;
  readonly key: ArrayLike<number>;
  readonly value: ArrayLike<number>;
  readonly causal: boolean;
  readonly keyMask?: ArrayLike<number>;
}

/** A call of an operator with softmax scores: `keyBias [heads, Tk]`, where `-Infinity` hides a key like the mask. */
export interface ScoredProblem extends Problem {
  readonly scale: number;
  readonly keyBias?: ArrayLike<number>;
}

/** `out [heads, Tq, Dv]`. */
export interface Forward {
  readonly out: Float64Array;
}

/** `dquery [heads, Tq, D]`, `dkey [heads, Tk, D]`, `dvalue [heads, Tk, Dv]`. */
export interface Gradient {
  readonly dquery: Float64Array;
  readonly dkey: Float64Array;
  readonly dvalue: Float64Array;
}

/** A gradient with `dkeyBias [heads, Tk]`; zero where there is no bias to differentiate. */
export interface ScoredGradient extends Gradient {
  readonly dkeyBias: Float64Array;
}

/** One row of a call and the keys it sees, in order; everything in a reference happens per row. */
export interface Row {
  readonly head: number;
  /** Index of the row in an array `[heads, Tq]`. */
  readonly index: number;
  readonly query: Float64Array;
  /** Indices of the visible keys in an array `[heads, Tk]`. */
  readonly keys: readonly number[];
}

/** Row `index` of a flat array of rows of length `width`. */
export function rowOf(array: ArrayLike<number>, width: number, index: number): Float64Array {
  const row = new Float64Array(width);
  for (let d = 0; d < width; d++) row[d] = array[index * width + d];
  return row;
}

/** `a . b`. */
export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += a[d] * b[d];
  return sum;
}

/** `target[index, :] += factor * vector`, for a flat `target` of rows as long as `vector`. */
export function addTo(target: Float64Array, index: number, factor: number, vector: ArrayLike<number>): void {
  for (let d = 0; d < vector.length; d++) target[index * vector.length + d] += factor * vector[d];
}

/** `sum_j weights_j vectors_j`, a vector of length `width`. */
export function weightedSum(weights: ArrayLike<number>, vectors: readonly Float64Array[], width: number): Float64Array {
  const sum = new Float64Array(width);
  vectors.forEach((vector, j) => {
    addTo(sum, 0, weights[j], vector);
  });
  return sum;
}

/** Every row that sees at least one key. Hidden keys are never touched. */
export function* rowsOf(problem: Problem & { readonly keyBias?: ArrayLike<number> }): Generator<Row> {
  const { dims, query, keyMask, keyBias } = problem;
  for (let head = 0; head < dims.heads; head++) {
    for (let row = 0; row < dims.Tq; row++) {
      const keys: number[] = [];
      for (let j = 0; j < visibleKeys(dims, problem.causal, row); j++) {
        const key = head * dims.Tk + j;
        const masked = keyMask?.[maskRow(dims, head) * dims.Tk + j] === 0;
        if (!masked && keyBias?.[key] !== -Infinity) keys.push(key);
      }
      const index = head * dims.Tq + row;
      if (keys.length > 0) yield { head, index, keys, query: rowOf(query, dims.D, index) };
    }
  }
}

/** The rows of `key` that `row` sees, `[keys, D]`. */
export function keysOf(problem: Problem, row: Row): Float64Array[] {
  return row.keys.map((j) => rowOf(problem.key, problem.dims.D, j));
}

/** The rows of `value` that `row` sees, `[keys, Dv]`. */
export function valuesOf(problem: Problem, row: Row): Float64Array[] {
  return row.keys.map((j) => rowOf(problem.value, problem.dims.Dv, j));
}

/** `w_j = exp(s q.k_j + b_j - m)` over the visible keys of one row, `m` the largest score. */
export function unnormalisedWeights(problem: ScoredProblem, row: Row): Float64Array {
  const { scale, keyBias } = problem;
  const scores = Float64Array.from(
    keysOf(problem, row),
    (k, j) => scale * dot(row.query, k) + (keyBias?.[row.keys[j]] ?? 0),
  );
  const largest = scores.reduce((a, b) => Math.max(a, b));
  return scores.map((score) => Math.exp(score - largest));
}

/** The softmax weights `p_j` over the visible keys of one row. */
export function softmaxWeights(problem: ScoredProblem, row: Row): Float64Array {
  const w = unnormalisedWeights(problem, row);
  const sum = w.reduce((a, b) => a + b);
  return w.map((x) => x / sum);
}

/** The weights of one row: as many numbers as the row sees keys. */
export type RowWeights<P extends Problem> = (problem: P, row: Row) => Float64Array;

/** `out [heads, Tq, Dv]`, `out_i = sum_j weight_ij v_j`; zero in a row that sees no key. */
export function combineValues<P extends Problem>(problem: P, rowWeights: RowWeights<P>): Forward {
  const { heads, Tq, Dv } = problem.dims;
  const out = new Float64Array(heads * Tq * Dv);
  for (const row of rowsOf(problem)) {
    addTo(out, row.index, 1, weightedSum(rowWeights(problem, row), valuesOf(problem, row), Dv));
  }
  return { out };
}

/** The effective weights as a matrix `[heads, Tq, Tk]`; zero where a row does not see a key. */
export function scatterWeights<P extends Problem>(problem: P, rowWeights: RowWeights<P>): Float64Array {
  const { heads, Tq, Tk } = problem.dims;
  const weights = new Float64Array(heads * Tq * Tk);
  for (const row of rowsOf(problem)) {
    rowWeights(problem, row).forEach((weight, j) => {
      weights[row.index * Tk + (row.keys[j] - row.head * Tk)] = weight;
    });
  }
  return weights;
}

/** Zeros in the shapes of a gradient. */
export function emptyGradient({ heads, Tq, Tk, D, Dv }: AttentionDims): Gradient {
  return {
    dquery: new Float64Array(heads * Tq * D),
    dkey: new Float64Array(heads * Tk * D),
    dvalue: new Float64Array(heads * Tk * Dv),
  };
}

/** `A^-1 b` for a symmetric positive definite `matrix [n, n]` by Cholesky; NaN where it is not one. */
export function choleskySolve(matrix: Float64Array, b: ArrayLike<number>): Float64Array {
  const n = b.length;
  const L = matrix.slice();
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      for (let c = 0; c < j; c++) L[i * n + j] -= L[i * n + c] * L[j * n + c];
      L[i * n + j] = j < i ? L[i * n + j] / L[j * n + j] : Math.sqrt(L[i * n + i]);
    }
  }
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < i; c++) x[i] -= L[i * n + c] * x[c];
    x[i] /= L[i * n + i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let c = i + 1; c < n; c++) x[i] -= L[c * n + i] * x[c];
    x[i] /= L[i * n + i];
  }
  return x;
}

/** `sum_j weights_j v_j v_j^T + diag(ridge)`, a matrix `[width, width]`. */
export function secondMoment(
  weights: ArrayLike<number>,
  vectors: readonly Float64Array[],
  ridge: ArrayLike<number>,
): Float64Array {
  const n = ridge.length;
  const matrix = new Float64Array(n * n);
  vectors.forEach((vector, j) => {
    for (let d = 0; d < n; d++) addTo(matrix, d, weights[j] * vector[d], vector);
  });
  for (let d = 0; d < n; d++) matrix[d * n + d] += ridge[d];
  return matrix;
}

/** The ridge itself where it is positive and finite, else NaN: a bad value must show in its own rows. */
export function checkedRidge(ridge: number): number {
  return ridge > 0 && ridge < Infinity ? ridge : NaN;
}
