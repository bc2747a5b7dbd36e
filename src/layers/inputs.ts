import { cast, Tensor } from '@tensorflow/tfjs-core';
import type { Shape } from '@tensorflow/tfjs-layers';

import { printed, reject } from '../../kernels/common/validate.js';

/** Tensors, symbolic ones, or shapes alone. */
interface Shaped {
  readonly shape: Shape;
}

/** The inputs of a call by their names; with one input, all three are that one. */
export interface NamedInputs<X> {
  readonly query: X;
  readonly value: X;
  readonly key: X;
  /** The explicit mask of the values. */
  readonly mask?: X;
  /** How many of query, value and key were given. */
  readonly given: number;
}

/** Sizes of the last axes, which the kernels of the projections have. */
export interface Features {
  readonly query: number;
  readonly value: number;
  readonly key: number;
}

const shown = (shape: Shape): string => `[${shape.map((size) => size ?? 'null').join(', ')}]`;

/** Whether two sizes are unequal, as far as they are known. */
const differ = (a: number | null, b: number | null): boolean => a !== null && b !== null && a !== b;

/** `Shape | Shape[]`, as tfjs hands it to `build`, as a list of things that have a shape. */
export function shapedInputs(shapes: Shape | Shape[]): Shaped[] {
  const several = Array.isArray(shapes[0]);
  return (several ? (shapes as Shape[]) : [shapes as Shape]).map((shape) => ({ shape }));
}

const LAYOUTS = 'apply(x), apply([query, value]), apply([query, value, key]), each of several with a mask last';

/**
 * Names the inputs of a call by their number and rank, Keras' order: query, value, key; then, of rank 2, the mask of the
 * values. Throws where ranks, batches or lengths do not fit; sizes that are null fit all.
 */
export function nameInputs<X extends Shaped>(label: string, inputs: X | X[]): NamedInputs<X> {
  const list = Array.isArray(inputs) ? inputs : [inputs];
  if (list.length < 1 || list.length > 4) {
    reject(label, 'inputs', `must be 1 to 4 tensors: ${LAYOUTS}; got ${list.length}`);
  }
  const last = list[list.length - 1];
  const masked = list.length === 4 || (list.length === 3 && last.shape.length === 2);
  const data = masked ? list.slice(0, -1) : list;
  const [query, value = query, key = value] = data;
  const named = { query, value, key, given: data.length, ...(masked && { mask: last }) };
  checkShapes(label, named);
  return named;
}

/** What may be meant by an input of another rank. */
const HINTS: Readonly<Partial<Record<string, string>>> = {
  value: ' (a mask comes after it: apply([query, value, mask]))',
  key: ' (or 2 as a mask [B, Tv] of the values)',
};

function checkShapes(label: string, inputs: NamedInputs<Shaped>): void {
  const { query, value, key, mask, given } = inputs;
  const data = Object.entries({ query, value, key }).slice(0, given);
  for (const [name, { shape }] of data) {
    if (shape.length !== 3) {
      const hint = HINTS[name] ?? '';
      reject(label, name, `must have rank 3 [B, T, features]${hint}, got shape ${shown(shape)}`);
    }
    if (shape.includes(0)) reject(label, name, `has an empty axis, got shape ${shown(shape)}`);
    if (shape[2] === null) reject(label, name, `must have a known number of features, got shape ${shown(shape)}`);
  }
  const [B, Tv] = [query.shape[0], value.shape[1]];
  for (const [name, { shape }] of data) {
    if (differ(shape[0], B)) reject(label, name, `must have the batch size of query, ${B}, got shape ${shown(shape)}`);
  }
  if (differ(key.shape[1], Tv)) {
    reject(label, 'key', `must be as long as value, Tv = ${Tv}, got shape ${shown(key.shape)}`);
  }
  if (mask !== undefined) checkMaskShape(label, 'mask', mask.shape, [B, Tv], '[B, Tv]');
}

/** A mask given on purpose, as an input or in `{ mask: [...] }`. */
export function checkMaskShape(label: string, name: string, shape: Shape, expected: Shape, meaning: string): void {
  if (shape.length === expected.length && !shape.some((size, axis) => differ(size, expected[axis]))) return;
  const full = shape.length > 2 ? '; a full attention mask is not supported' : '';
  reject(label, name, `must have shape ${shown(expected)} (${meaning}), got ${shown(shape)}${full}`);
}

/** Number of features of each input. */
export function featuresOf(inputs: NamedInputs<Shaped>): Features {
  const size = ({ shape }: Shaped): number => shape[shape.length - 1] ?? 0;
  return { query: size(inputs.query), value: size(inputs.value), key: size(inputs.key) };
}

/** Throws where an input has other features than those the layer was built for. */
export function checkFeatures(label: string, inputs: NamedInputs<Shaped>, built: Features): void {
  const actual = featuresOf(inputs);
  for (const name of ['query', 'value', 'key'] as const) {
    if (actual[name] === built[name]) continue;
    const got = `got shape ${shown(inputs[name].shape)}`;
    reject(label, name, `must have ${built[name]} features, as when the layer was built, ${got}`);
  }
}

/** tfjs's own check would make the ranks of what passes it unknown. */
export function isTensor(x: unknown): x is Tensor {
  return x instanceof Tensor;
}

/** Throws where an input is disposed or not numeric; integers become float32. */
export function toFloat(label: string, name: string, x: unknown): Tensor {
  if (!isTensor(x)) reject(label, name, `must be a tensor, got ${printed(x)}`);
  if (x.isDisposed) reject(label, name, `is a disposed tensor, shape ${shown(x.shape)}`);
  if (x.dtype !== 'float32' && x.dtype !== 'int32' && x.dtype !== 'bool') {
    reject(label, name, `must have dtype float32, int32 or bool, got ${x.dtype}`);
  }
  return x.dtype === 'float32' ? x : cast(x, 'float32');
}
