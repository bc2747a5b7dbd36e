import { choleskySolve, dot } from '../../kernels/common/reference.js';
import type { BenchCase } from './cases.js';
import { headData } from './data.js';

/** Gradients of some keys and values of one head, `[keys, dim]` each. */
export interface SampledGradients {
  readonly dkey: Float64Array;
  readonly dvalue: Float64Array;
}

/** `matrix += sum_j weights_j k_j k_j^T` for keys `first .. first + count - 1`, lower triangle. */
function addMoment(matrix: Float64Array, key: Float64Array, weights: Float64Array, first: number, count: number): void {
  const D = Math.sqrt(matrix.length);
  const end = first + count;
  // Four keys at a time: one load and store of the matrix for four products.
  for (let j = first; j < end; j += 4) {
    const rows = [0, 1, 2, 3].map((b) => Math.min(j + b, end - 1) * D);
    const [r0, r1, r2, r3] = rows;
    const [w0, w1, w2, w3] = [0, 1, 2, 3].map((b) => (j + b < end ? weights[j + b] : 0));
    for (let a = 0; a < D; a++) {
      const a0 = w0 * key[r0 + a];
      const a1 = w1 * key[r1 + a];
      const a2 = w2 * key[r2 + a];
      const a3 = w3 * key[r3 + a];
      const row = a * D;
      for (let c = 0; c <= a; c++) {
        matrix[row + c] += a0 * key[r0 + c] + a1 * key[r1 + c] + a2 * key[r2 + c] + a3 * key[r3 + c];
      }
    }
  }
}

const withRidge = (matrix: Float64Array, ridge: number): Float64Array => {
  const D = Math.sqrt(matrix.length);
  return matrix.map((x, i) => (i % (D + 1) === 0 ? x + ridge : x));
};

/**
 * The sampled gradients of the first head for several ridges at once, in float64: what the operators' references
 * compute, arranged so that lengths of thousands take minutes. The moments of the keys do not depend on the ridge; those
 * of mesa attention grow by a key a row.
 *
 * The identities are those of `kernels/local_linear_attention/reference.ts` and of mesa attention's.
 */
export function solverGradients(one: BenchCase, ridges: readonly number[], sampled: readonly number[]) {
  const { operator, queries, keys, dim: D, causal } = one;
  const isLocal = operator === 'localLinearAttention';
  const all = (['query', 'key', 'value', 'dout'] as const).map((name) => Float64Array.from(headData(one, name, 0)));
  const [query, key, value, dout] = all;
  const rowOf = (array: Float64Array, i: number): Float64Array => array.subarray(i * D, (i + 1) * D);
  const results = ridges.map((): SampledGradients => {
    const size = sampled.length * D;
    return { dkey: new Float64Array(size), dvalue: new Float64Array(size) };
  });
  const scale = isLocal ? 1 / Math.sqrt(D) : 1;
  const p = new Float64Array(keys);
  const Gamma = new Float64Array(keys);
  const moment = new Float64Array(D * D);
  let counted = 0;

  for (let i = 0; i < queries; i++) {
    const visible = causal ? Math.max(0, Math.min(keys, keys - queries + i + 1)) : keys;
    const [q, g] = [rowOf(query, i), rowOf(dout, i)];
    for (let j = 0; j < visible; j++) Gamma[j] = dot(g, rowOf(value, j));
    const kbar = new Float64Array(D);
    let Gbar = 0;
    if (isLocal) {
      softmaxInto(p, visible, (j) => scale * dot(q, rowOf(key, j)));
      moment.fill(0);
      counted = 0;
      for (let j = 0; j < visible; j++) {
        Gbar += p[j] * Gamma[j];
        for (let d = 0; d < D; d++) kbar[d] += p[j] * key[j * D + d];
      }
    } else {
      p.fill(1);
    }
    addMoment(moment, key, p, counted, visible - counted);
    counted = visible;
    const N = new Float64Array(D);
    for (let j = 0; j < visible; j++) {
      for (let d = 0; d < D; d++) N[d] += p[j] * (Gamma[j] - Gbar) * key[j * D + d];
    }
    // The covariance of the keys, or their plain second moment: kbar is zero for mesa attention.
    const central = moment.map((x, at) => x - kbar[Math.floor(at / D)] * kbar[at % D]);
    for (const [r, ridge] of ridges.entries()) {
      const A = withRidge(central, ridge);
      const x = choleskySolve(
        A,
        q.map((c, d) => c - kbar[d]),
      );
      const u = choleskySolve(A, N);
      const ux = dot(u, x);
      const { dkey, dvalue } = results[r];
      for (const [s, j] of sampled.entries()) {
        if (j >= visible) continue;
        const y = rowOf(key, j).map((c, d) => c - kbar[d]);
        const tau = (isLocal ? 1 : 0) + dot(y, x);
        const eta = Gamma[j] - Gbar - dot(y, u);
        const de = isLocal ? p[j] * (tau * eta - ridge * ux) : 0;
        for (let d = 0; d < D; d++) {
          dkey[s * D + d] += scale * de * q[d] + p[j] * (eta * x[d] - tau * u[d]);
          dvalue[s * D + d] += p[j] * tau * g[d];
        }
      }
    }
  }
  return results;
}

/** The softmax of `count` scores. */
function softmaxInto(p: Float64Array, count: number, score: (j: number) => number): void {
  let most = -Infinity;
  for (let j = 0; j < count; j++) most = Math.max(most, (p[j] = score(j)));
  let sum = 0;
  for (let j = 0; j < count; j++) sum += p[j] = Math.exp(p[j] - most);
  for (let j = 0; j < count; j++) p[j] /= sum;
}
