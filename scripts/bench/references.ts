import type { BenchCase } from './cases.js';
import { callData, type DataName, headData } from './data.js';
import { benchOperators, type ReferenceGradient, type ReferenceProblem } from './operators.js';

/** A row `index` of head `head` of an array `[heads, rows, width]`. */
export interface RowAt {
  readonly head: number;
  readonly row: number;
}

/** Rows at the seams of tiles, and where causal rows see next to nothing. */
const seams = (rows: number): number[] => [0, 1, 63, 64, rows - 1].filter((row) => row >= 0 && row < rows);

/** `count` rows spread over heads and positions, and the seams of the first head. */
export function sampledRows(heads: number, rows: number, count: number): RowAt[] {
  const spread = Array.from({ length: count }, (_, i) => ({
    head: (7 * i + 1) % heads,
    row: Math.min(rows - 1, Math.floor(((i + 0.5) * rows) / count) + (i % 3)),
  }));
  return [...seams(rows).map((row) => ({ head: 0, row })), ...spread];
}

/** Keys of the first head whose gradients are checked: those need every query that sees them. */
export function sampledKeys(keys: number): number[] {
  const spread = Array.from({ length: 7 }, (_, i) => Math.floor(((i + 0.6) * keys) / 7));
  return [...new Set([...seams(keys), ...spread])].sort((a, b) => a - b);
}

/** One query row and the keys that it sees, as a call of its own. */
function rowProblem(one: BenchCase, { head, row }: RowAt): ReferenceProblem {
  const { queries, keys, dim, causal, ridge = 1 } = one;
  const visible = causal ? keys - queries + row + 1 : keys;
  const part = (name: DataName, first: number, rows: number): Float32Array =>
    callData(one, name).subarray(first * dim, (first + rows) * dim);
  return {
    dims: { batch: 1, heads: 1, Tq: 1, Tk: visible, D: dim, Dv: dim },
    query: part('query', head * queries + row, 1),
    probe: part('probe', head * queries + row, 1),
    key: part('key', head * keys, visible),
    value: part('value', head * keys, visible),
    causal: false,
    ridge,
  };
}

export function outputRow(one: BenchCase, at: RowAt): Float64Array {
  return benchOperators[one.operator].forward(rowProblem(one, at));
}

/** The gradients of what belongs to one query row: query, probe, ridge. */
export function queryGradients(one: BenchCase, at: RowAt): ReferenceGradient {
  const { queries, dim } = one;
  const first = (at.head * queries + at.row) * dim;
  const dout = Float64Array.from(callData(one, 'dout').subarray(first, first + dim));
  const problem = rowProblem(one, at);
  const { dquery, dprobe, dridge } = benchOperators[one.operator].gradient(problem, dout) as Partial<ReferenceGradient>;
  const isPerRow = one.operator === 'localLinearAttention';
  return {
    ...(dquery && { dquery }),
    ...(dprobe && { dprobe }),
    ...(dridge && isPerRow && { dridge }),
  };
}

/** The gradients of all keys and values of the first head: quadratic, and for local linear attention in `dim`, too. */
export function keyGradients(one: BenchCase): { dkey: Float64Array; dvalue: Float64Array } {
  const { queries, keys, dim, causal, ridge = 1 } = one;
  const problem = {
    dims: { batch: 1, heads: 1, Tq: queries, Tk: keys, D: dim, Dv: dim },
    query: headData(one, 'query', 0),
    key: headData(one, 'key', 0),
    value: headData(one, 'value', 0),
    probe: headData(one, 'probe', 0),
    causal,
    ridge,
  };
  const dout = Float64Array.from(headData(one, 'dout', 0));
  const { dkey, dvalue } = benchOperators[one.operator].gradient(problem, dout);
  return { dkey, dvalue };
}
