/** What the suites of caches share: tokens, steps over ranges of them, and the operators that the steps must equal. */
import * as tf from '@tensorflow/tfjs-core';
import { attentionCache, type AttentionCache } from '../src/index.js';
import { Random } from './random.js';
import { apply, shortName, tensorsOf, type NamedTensors } from './run_call.js';
import { relativeL2, type Call, type Operator, type TensorName, type Values } from './values.js';

/** The largest relative error (L2) that a step may have against the operator's own call. */
const BAR = 1e-4;

export interface Sizes {
  readonly lead: readonly number[];
  readonly D: number;
  readonly Dv: number;
}

const SMALL: Sizes = { lead: [2, 2], D: 6, Dv: 5 };

/** Parts of a call besides query, key and value. */
export interface Extras {
  readonly keyMask?: boolean;
  readonly keyBias?: boolean;
  /** A ridge per row, of local linear attention, or per channel, of mesa attention. */
  readonly ridge?: boolean;
}

export const isScored = (operator: Operator): boolean => operator !== 'linearAttention' && operator !== 'mesaAttention';

const hasRidge = (operator: Operator): boolean => operator === 'localLinearAttention' || operator === 'mesaAttention';

/** A causal self-attention call over `T` tokens. */
export function callOf(operator: Operator, T: number, seed: number, extras: Extras = {}, sizes: Sizes = SMALL): Call {
  const { lead, D, Dv } = sizes;
  const random = new Random(seed);
  const ridgeShape = operator === 'mesaAttention' ? [...lead.slice(1), D] : [...lead, T];
  return {
    operator,
    options: { causal: true },
    tensors: {
      query: random.normals([...lead, T, D]),
      key: random.normals([...lead, T, D]),
      value: random.normals([...lead, T, Dv]),
      ...(operator === 'parallaxAttention' && { probe: random.normals([...lead, T, D], 0.3) }),
      ...(extras.keyMask && { keyMask: random.mask([lead[0], T], 0.7) }),
      ...(extras.keyBias && isScored(operator) && { keyBias: random.normals([...lead, T]) }),
      ...(extras.ridge && hasRidge(operator) && { ridge: random.logUniform(ridgeShape, 0.2, 2) }),
    },
  };
}

const TOKEN_AXIS: Readonly<Record<TensorName, number>> = {
  query: 2,
  key: 2,
  value: 2,
  probe: 2,
  ridge: 1,
  keyBias: 1,
  keyMask: 1,
};

/** Tokens `from .. to - 1` of one tensor of a call. */
export function tokensOf(operator: Operator, name: TensorName, x: tf.Tensor, from: number, to: number): tf.Tensor {
  if (operator === 'mesaAttention' && name === 'ridge') return x.clone();
  const axis = x.rank - TOKEN_AXIS[name];
  const begin = x.shape.map((_, i) => (i === axis ? from : 0));
  return tf.slice(x, begin, x.shape.map((size, i) => (i === axis ? to - from : size))); // prettier-ignore
}

/** Tokens `from .. to - 1` of all tensors of a call. */
export function tokens(operator: Operator, tensors: NamedTensors, from: number, to: number): NamedTensors {
  const parts = Object.entries(tensors).map(([name, x]) => [name, tokensOf(operator, name as TensorName, x, from, to)]);
  return Object.fromEntries(parts) as NamedTensors;
}

/** A step with the given tensors. */
export function stepWith(cache: AttentionCache, tensors: NamedTensors): tf.Tensor {
  const { query, key, value, ...options } = tensors;
  if (!query || !key || !value) throw new Error('the step lacks a tensor');
  return cache.step(query, key, value, options);
}

/** A step with tokens `from .. to - 1` of a call. */
export function stepOver(
  cache: AttentionCache,
  call: Call,
  tensors: NamedTensors,
  from: number,
  to: number,
): tf.Tensor {
  return tf.tidy(() => stepWith(cache, tokens(call.operator, tensors, from, to)));
}

/** An empty cache for a call's operator. */
export function cacheFor(
  { operator, options }: Pick<Call, 'operator' | 'options'>,
  more: { capacity?: number; grow?: boolean; window?: number } = {},
): AttentionCache {
  const constant = Object.entries(options).filter(([name]) => name !== 'causal');
  return attentionCache(shortName(operator), { ...Object.fromEntries(constant), ...more });
}

/** The operator's own result for all tokens of a call. */
export function expected(call: Call): Promise<{ out: Float32Array; shape: number[] }> {
  const out = tf.tidy(() => apply(call, tensorsOf(call)));
  return read(out);
}

/** Values and shape of a tensor, which is disposed. */
export async function read(x: tf.Tensor): Promise<{ out: Float32Array; shape: number[] }> {
  const out = (await x.data()) as Float32Array;
  const { shape } = x;
  x.dispose();
  return { out, shape };
}

/** The values of tokens `from .. to - 1` of a result `[..., T, Dv]`. */
export function rowsOf(
  { out, shape }: { out: Float32Array; shape: readonly number[] },
  from: number,
  to: number,
): Values {
  const [T, Dv] = shape.slice(-2);
  const heads = out.length / (T * Dv);
  const rows = Array.from({ length: heads }, (_, h) => Array.from(out.slice((h * T + from) * Dv, (h * T + to) * Dv)));
  return { shape: [...shape.slice(0, -2), to - from, Dv], data: rows.flat() };
}

/** Expects a tensor, which is disposed, to be close to values of the same shape. */
export async function expectClose(actual: tf.Tensor, values: Values, bar = BAR): Promise<void> {
  const { out, shape } = await read(actual);
  expect(shape).toEqual(values.shape);
  expect(relativeL2(out, values.data)).toBeLessThan(bar);
}
