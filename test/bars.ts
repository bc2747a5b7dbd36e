import { maskRow } from '../kernels/common/dims.js';
import * as float32Covariance from './float32_covariance.js';
import { dimsOf, judgeForward, judgeGradient, localLinearProblem, outShape, toInputShapes } from './judge.js';
import type { Gradients } from './judge.js';
import { Random } from './random.js';
import type { Call, TensorName } from './values.js';

/** Errors of one array: relative to the expected one's norm, Euclidean and largest. */
export interface Errors {
  readonly l2: number;
  readonly max: number;
}

/** Float64 results of a call, the cotangent they belong to, and the errors a kernel may make. */
export interface Judged {
  readonly out: Float64Array;
  readonly dout: Float64Array;
  readonly gradients: Gradients;
  /** Largest errors allowed, by the name of the input; `out` for the result. Absent: only finiteness is asked for. */
  readonly bars?: Readonly<Record<string, Errors>>;
}

/** The relative L2 bars of operator.md: outputs and `dv` 1e-4, other gradients 5e-4; the ridge's, a sum with cancellation, 1e-3. */
function plainBar(name: TensorName | 'out'): number {
  if (name === 'out' || name === 'value') return 1e-4;
  return name === 'ridge' ? 1e-3 : 5e-4;
}

/**
 * Errors of an array. Where the expected numbers are zero but for rounding (one visible key has no `dq`), they are taken
 * relative to `floor`, a thousandth of the typical size of the terms that cancel.
 */
function errorsOf(actual: ArrayLike<number>, expected: ArrayLike<number>, floor: Errors): Errors {
  let squares = 0;
  let norm = 0;
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    // NaN and infinities must be where they are expected; `NaN - NaN` and the like count as no difference.
    const d = Object.is(actual[i], expected[i]) ? 0 : Math.abs(actual[i] - expected[i]);
    squares += d * d;
    difference = Math.max(difference, d);
    if (Number.isFinite(expected[i])) {
      norm += expected[i] ** 2;
      largest = Math.max(largest, Math.abs(expected[i]));
    }
  }
  const l2 = Math.sqrt(squares) / Math.max(Math.sqrt(norm), floor.l2 * Math.sqrt(expected.length));
  return { l2, max: difference / Math.max(largest, floor.max) };
}

/** Root mean square of the finite numbers. */
function rms(data: ArrayLike<number>): number {
  const finite = Array.from(data).filter(Number.isFinite);
  return Math.sqrt(finite.reduce((sum, x) => sum + x * x, 0) / Math.max(1, finite.length));
}

/** The sums `n_i` that normalised linear attention divides its rows by, where they are not zero. */
function normalisers(call: Call): Float64Array {
  const { tensors, options } = call;
  const ones = {
    shape: [...tensors.value.shape.slice(0, -1), 1],
    data: new Float64Array(dimsOf(call).heads * dimsOf(call).Tk).fill(1),
  };
  const sums = judgeForward({
    ...call,
    options: { ...options, normalize: false },
    tensors: { ...tensors, value: ones },
  });
  return sums.filter((n) => n !== 0 && Number.isFinite(n));
}

/**
 * Query and key of normalised linear attention get differences of terms that hold `1 / n_i`, a key's summed over rows.
 * With one channel or one visible key they cancel completely: the output is then the same for every query.
 */
function floorOf(call: Call, dout: ArrayLike<number>, name: string): Errors {
  const typical = 1e-3 * rms(dout) * rms(call.tensors.value.data);
  const divided = call.operator === 'linearAttention' && call.options.normalize !== false;
  if (!divided || (name !== 'query' && name !== 'key')) return { l2: typical, max: typical };
  const inverse = normalisers(call).map((n) => 1 / Math.abs(n));
  const terms = typical * (name === 'key' ? Math.sqrt(dimsOf(call).Tq) : 1);
  return { l2: terms * Math.max(1, rms(inverse)), max: terms * inverse.reduce((x, y) => Math.max(x, y), 1) };
}

/** Mean over heads and channels of the variance of the visible, finite keys. */
function keyVariance(call: Call): number {
  const { heads, Tk, D, ...dims } = dimsOf(call);
  const { key, keyMask } = call.tensors;
  let total = 0;
  for (let head = 0; head < heads; head++) {
    const row = maskRow({ heads, Tk, D, ...dims }, head);
    const visible = Array.from({ length: Tk }, (_, j) => j).filter((j) => keyMask?.data[row * Tk + j] !== 0);
    for (let d = 0; d < D && visible.length > 0; d++) {
      const channel = visible.map((j) => key.data[(head * Tk + j) * D + d]).filter(Number.isFinite);
      const mean = channel.reduce((a, b) => a + b, 0) / Math.max(1, channel.length);
      total += channel.reduce((sum, x) => sum + (x - mean) ** 2, 0) / Math.max(1, channel.length);
    }
  }
  return total / (heads * D);
}

/** Whether operator.md's plain bars do not hold: a ridge below 0.01 times the mean variance of the keys. */
function hasSmallRidge(call: Call): boolean {
  if (call.operator !== 'localLinearAttention') return false;
  const ridge = Array.from(call.tensors.ridge?.data ?? [call.options.ridge ?? 1]).filter((x) => x > 0 && x < Infinity);
  return Math.min(...ridge) < 0.01 * keyVariance(call);
}

/** The largest score of a call, without its bias. */
function largestScore(call: Call): number {
  const { heads, Tq, Tk, D } = dimsOf(call);
  const { query, key } = call.tensors;
  let largest = 0;
  for (let row = 0; row < heads * Tq; row++) {
    for (let j = 0; j < Tk; j++) {
      const at = (Math.floor(row / Tq) * Tk + j) * D;
      let product = 0;
      for (let d = 0; d < D; d++) product += query.data[row * D + d] * key.data[at + d];
      if (Math.abs(product) > largest) largest = Math.abs(product);
    }
  }
  return largest * Math.abs(call.options.scale ?? 1 / Math.sqrt(D));
}

/**
 * What float32 costs beyond the plain bars where the data ask for more digits than it has: a score of size s is off by
 * about s 2^-24, and so, relatively, is its weight; mesa attention on keys that are all alike loses the condition number.
 */
function roundingOf(call: Call): number {
  const { D } = dimsOf(call);
  if (call.operator === 'linearAttention') return 0;
  if (call.operator !== 'mesaAttention') return largestScore(call) > 20 ? 4 * 2 ** -24 * largestScore(call) : 0;
  const { data } = call.tensors.key;
  const distinct = new Set(Array.from({ length: data.length / D }, (_, j) => data[j * D])).size;
  if (distinct > data.length / D / 2) return 0;
  const ridge = Math.min(...Array.from(call.tensors.ridge?.data ?? [call.options.ridge ?? 1]));
  const trace = Array.from(data).reduce((sum, x) => sum + x * x, 0) / dimsOf(call).heads;
  return (2 ** -23 * trace) / ridge;
}

function barsOf(call: Call, judged: Judged): Judged['bars'] {
  const names = ['out' as const, ...(Object.keys(judged.gradients) as TensorName[])];
  if (!hasSmallRidge(call) && !(call.operator === 'localLinearAttention' && largestScore(call) > 20)) {
    const rounding = roundingOf(call);
    // The contract's bars are relative L2; the largest single error is held ten times looser.
    return Object.fromEntries(
      names.map((name) => {
        // The ridge's gradient is a sum with cancellation, of first order in the errors of both solves.
        const isGradient = name !== 'out' && name !== 'value';
        // Large scores leave one key almost all of the weight; differences from its mean lose what the others have.
        const lost = isGradient && call.operator !== 'mesaAttention' && rounding > 0 ? plainBar(name) : 0;
        const bar = plainBar(name) + lost + (name === 'ridge' ? 10 : 1) * rounding;
        return [name, { l2: bar, max: 10 * bar }];
      }),
    );
  }
  // An explicit conjugate gradient keeps what it has after its last iteration: no error is promised there.
  if (call.options.solver === 'conjugateGradient') return undefined;
  const problem = localLinearProblem(call);
  const rounded = {
    out: float32Covariance.forward(problem).out,
    ...toInputShapes(call, float32Covariance.gradient(problem, judged.dout)),
  };
  const errors = names.map((name) => {
    const expected = name === 'out' ? judged.out : judged.gradients[name];
    return errorsOf(rounded[name] ?? [], expected ?? [], floorOf(call, judged.dout, name));
  });
  // How well one array of the other form happens to round is luck: its worst array is what float32 gives here.
  const worst = { l2: Math.max(...errors.map(({ l2 }) => l2)), max: Math.max(...errors.map(({ max }) => max)) };
  return Object.fromEntries(
    names.map((name) => {
      const floor = hasSmallRidge(call) ? 1e-5 : plainBar(name);
      return [name, { l2: 2 * worst.l2 + floor, max: 4 * worst.max + 10 * floor }];
    }),
  );
}

/** Judges a call in float64, with a random cotangent of its own or a given one. */
export function judge(call: Call, cotangent?: ArrayLike<number>): Judged {
  const dout = Float64Array.from(cotangent ?? new Random(99).normals(outShape(call)).data);
  const judged: Judged = { out: judgeForward(call), dout, gradients: judgeGradient(call, dout) };
  const bars = barsOf(call, judged);
  return { ...judged, ...(bars && { bars }) };
}

/** An array of a result: its errors, and the bars for them. */
export interface Measured {
  readonly errors: Errors;
  /** Absent: only finiteness is asked for. */
  readonly bar?: Errors;
}

interface Result {
  readonly out: ArrayLike<number>;
  readonly gradients: Gradients;
}

const arraysOf = ({ out, gradients }: Result): Partial<Record<string, ArrayLike<number>>> => ({ out, ...gradients });

/** Errors of every array of a result that is there and of its length. */
export function measure(call: Call, judged: Judged, result: Result): Readonly<Record<string, Measured>> {
  const actual = arraysOf(result);
  return Object.fromEntries(
    Object.entries(arraysOf(judged)).flatMap(([name, expected = []]) => {
      const given = actual[name];
      if (given?.length !== expected.length) return [];
      return [
        [name, { errors: errorsOf(given, expected, floorOf(call, judged.dout, name)), bar: judged.bars?.[name] }],
      ];
    }),
  );
}

/** Least bars in relative L2 by the name of the input; `out` for the result. */
export type LeastBars = (name: string) => number;

/** One line per array that misses `factor` times its bar, or `least` where that is more; an empty list is a pass. */
export function misses(call: Call, judged: Judged, result: Result, factor = 1, least: LeastBars = () => 0): string[] {
  const actual = arraysOf(result);
  const measured = measure(call, judged, result);
  return Object.keys(arraysOf(judged)).flatMap((name) => {
    if (!(name in measured)) return [`${name} is missing or of another length`];
    const { errors, bar } = measured[name];
    if (bar === undefined)
      return Array.from(actual[name] ?? []).every(Number.isFinite) ? [] : [`${name} is not finite`];
    const { l2, max } = errors;
    const most = { l2: Math.max(factor * bar.l2, least(name)), max: Math.max(factor * bar.max, 10 * least(name)) };
    // Written so that a NaN misses.
    if (l2 <= most.l2 && max <= most.max) return [];
    const figures = `L2 ${l2.toExponential(1)} (bar ${most.l2.toExponential(1)}), max ${max.toExponential(1)}`;
    return [`${name}: ${figures} (bar ${most.max.toExponential(1)})`];
  });
}
