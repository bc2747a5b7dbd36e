import * as tf from '@tensorflow/tfjs-core';

/** Everything that an operator's call, forward or gradient, is made of. */
export const dataNames = ['query', 'key', 'value', 'probe', 'dout'] as const;

export type DataName = (typeof dataNames)[number];

/** Numbers of one head in a stream of its own; `2^32` states are shared out evenly. */
const STREAM_LENGTH = 2 ** 22;
const STREAMS = 2 ** 32 / STREAM_LENGTH;
const STEP = 0x6d2b79f5;

/**
 * Standard normal numbers `[rows, width]` of one head of one tensor (mulberry32 and Box-Muller), the same on every
 * machine. A head's numbers do not depend on how many heads there are, and a row's not on how many rows.
 */
export function normals(name: DataName, head: number, rows: number, width: number): Float32Array {
  const stream = head * dataNames.length + dataNames.indexOf(name);
  const count = rows * width;
  if (count > STREAM_LENGTH || stream >= STREAMS) {
    throw new Error(`no numbers for head ${head} of ${rows} x ${width}: the generator has ${STREAMS} streams`);
  }
  let state = Math.imul(stream * STREAM_LENGTH, STEP);
  const uniform = (): number => {
    state = (state + STEP) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    numbers[i] = radius * Math.cos(angle);
    if (i + 1 < count) numbers[i + 1] = radius * Math.sin(angle);
  }
  return numbers;
}

/** Keys and queries of a trained model rather than normal ones: channels of unlike size, and a mean. */
export interface Correlation {
  /** Channel `i`, from 1 on, has a standard deviation like `i^-spectrum`; their mean variance is 1. */
  readonly spectrum: number;
  /** Of every channel. */
  readonly mean: number;
}

/** Sizes of a call: value and key are equally wide. */
export interface Sizes {
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  readonly correlation?: Correlation;
}

const rowsOf = (name: DataName, { queries, keys }: Sizes): number =>
  name === 'key' || name === 'value' ? keys : queries;

/** The numbers `[rows, dim]` of one head of one tensor of a call. */
export function headData(sizes: Sizes, name: DataName, head: number): Float32Array {
  const { dim, correlation } = sizes;
  const numbers = normals(name, head, rowsOf(name, sizes), dim);
  if (correlation === undefined || (name !== 'query' && name !== 'key')) return numbers;
  const deviations = Array.from({ length: dim }, (_, i) => (i + 1) ** -correlation.spectrum);
  const unit = Math.sqrt(dim / deviations.reduce((sum, x) => sum + x * x, 0));
  return numbers.map((x, i) => x * deviations[i % dim] * unit + correlation.mean);
}

/** Arrays `[heads, rows, dim]` of the sizes used last, by name: suites run the cases of one size together. */
const made = new Map<string, Map<DataName, Float32Array>>();
const MOST_SIZES = 2;

/** One tensor of a call as an array. */
export function callData(sizes: Sizes, name: DataName): Float32Array {
  const { heads, queries, keys, dim, correlation } = sizes;
  const key = [heads, queries, keys, dim, JSON.stringify(correlation)].join(' ');
  const arrays = made.get(key) ?? new Map<DataName, Float32Array>();
  made.delete(key);
  const [oldest] = made.keys();
  if (made.size >= MOST_SIZES) made.delete(oldest);
  made.set(key, arrays);
  let array = arrays.get(name);
  if (array === undefined) {
    const length = rowsOf(name, sizes) * dim;
    array = new Float32Array(heads * length);
    for (let head = 0; head < heads; head++) array.set(headData(sizes, name, head), head * length);
    arrays.set(name, array);
  }
  return array;
}

/** Some tensors of a call. */
export function callTensors(sizes: Sizes, names: readonly DataName[]): Partial<Record<DataName, tf.Tensor3D>> {
  const { heads, dim } = sizes;
  return Object.fromEntries(
    names.map((name) => [name, tf.tensor3d(callData(sizes, name), [heads, rowsOf(name, sizes), dim])] as const),
  );
}
