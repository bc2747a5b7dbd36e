/** Which tensor of the file belongs to which weight, and how it lies there. */
import { printed, reject, type OptionCheck } from '../../kernels/common/validate.js';
import { shown } from './problem.js';
import type { Weight } from './weights.js';

/** How one weight lies in the file. */
export interface TensorMapping {
  /** The tensor's name in the file. */
  readonly tensor: string;
  /**
   * The axes of the file's tensor, each as the weight's axis, or as the list of the weight's axes that are merged into
   * it, outermost first. `[1, 0]` is a transposed matrix, `[3, 2, 0, 1]` the kernel of a two-dimensional convolution
   * of PyTorch's, and `[[1, 2], 0]` the weight of an `nn.Linear` for a kernel `[dim, H, Dk]`. Default: as in the weight.
   */
  readonly axes?: readonly (number | readonly number[])[];
  /** The weight is the `index`-th (from 0) of `of` equal parts of the file's tensor along its first axis. */
  readonly part?: { readonly index: number; readonly of: number };
}

/** A function from the weight's name, shape and place to where it lies in the file; `undefined`: under its own name. */
export type WeightMapFunction = (
  name: string,
  shape: readonly number[],
  index: number,
) => string | TensorMapping | undefined;

/**
 * From weights to tensors of the file.
 *
 * The keys of an object are names of weights, whole or from any `/` on: `query/kernel` is `block_1/query/kernel` where
 * that is the only weight whose name ends so. A key that fits no weight, or several, is an error. Weights that no key
 * fits are looked up under their own names. A string means the tensor of that name in the weight's own shape.
 */
export type WeightMap = Readonly<Record<string, string | TensorMapping>> | WeightMapFunction;

/** Checks the option `map`, but for its entries. */
export const isWeightMap: OptionCheck = (caller, option, value) => {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject && typeof value !== 'function') {
    reject(caller, option, `must be an object or a function, got ${printed(value)}`);
  }
};

/** A weight with the tensor that holds it. */
export interface MappedWeight {
  readonly weight: Weight;
  readonly tensor: string;
  /** The weight's axes in the file's order. */
  readonly order: readonly number[];
  /** Shape of the weight in the file: of its part, if it has only a part of the tensor. */
  readonly partShape: readonly number[];
  readonly part: { readonly index: number; readonly of: number };
  /** Shape of the whole tensor. */
  readonly fileShape: readonly number[];
}

/** Finds every weight's tensor; throws, naming `caller`, for a map that cannot be meant. */
export function mapWeights(caller: string, weights: readonly Weight[], map: WeightMap | undefined): MappedWeight[] {
  if (typeof map !== 'function') checkNames(caller, weights);
  const find = typeof map === 'function' ? map : lookUp(caller, weights, map ?? {});
  return weights.map((weight, index) => mapped(caller, weight, find(weight.name, weight.shape, index) ?? weight.name));
}

/** Without a function, weights are told apart by their names. */
function checkNames(caller: string, weights: readonly Weight[]): void {
  const names = new Set<string>();
  for (const { name } of weights) {
    if (names.has(name)) {
      reject(caller, 'model', `has two weights named '${name}'; tell them apart by a map that is a function`);
    }
    names.add(name);
  }
}

function lookUp(
  caller: string,
  weights: readonly Weight[],
  map: Readonly<Record<string, string | TensorMapping>>,
): WeightMapFunction {
  const found = new Map<string, { key: string; mapping: string | TensorMapping }>();
  for (const [key, mapping] of Object.entries(map)) {
    const exact = weights.filter(({ name }) => name === key);
    const fitting = exact.length > 0 ? exact : weights.filter(({ name }) => name.endsWith(`/${key}`));
    if (fitting.length !== 1) {
      const names = (fitting.length === 0 ? weights : fitting).map(({ name }) => name);
      const fits = fitting.length === 0 ? 'fits no weight' : 'fits several weights';
      reject(caller, 'map', `has a key '${key}' that ${fits}: ${listed(names)}`);
    }
    const [{ name }] = fitting;
    const other = found.get(name);
    if (other) reject(caller, 'map', `has two keys for the weight '${name}': '${other.key}' and '${key}'`);
    found.set(name, { key, mapping });
  }
  return (name) => found.get(name)?.mapping;
}

/** Some names of a list. */
export function listed(names: readonly string[]): string {
  const first = names.slice(0, 8).map((name) => `'${name}'`);
  return `${first.join(', ')}${names.length > first.length ? `, and ${names.length - first.length} more` : ''}`;
}

const FIELDS = ['tensor', 'axes', 'part'];

function mapped(caller: string, weight: Weight, mapping: string | TensorMapping): MappedWeight {
  const argument = `map, weight '${weight.name}',`;
  const given: unknown = typeof mapping === 'string' ? { tensor: mapping } : mapping;
  if (typeof given !== 'object' || given === null) {
    reject(caller, argument, `must be a tensor's name or { tensor, axes, part }, got ${printed(given)}`);
  }
  const unknown = Object.keys(given).find((field) => !FIELDS.includes(field));
  if (unknown !== undefined)
    reject(caller, argument, `has an unknown field '${unknown}'; it can have ${listed(FIELDS)}`);
  const { tensor, axes = weight.shape.map((_, axis) => axis), part = { index: 0, of: 1 } } = given as TensorMapping;
  if (typeof tensor !== 'string') reject(caller, argument, `must name a tensor, got ${printed(tensor)}`);
  const groups = axisGroups(caller, argument, axes, weight.shape);
  const partShape = groups.map((group) => group.reduce((size, axis) => size * weight.shape[axis], 1));
  checkPart(caller, argument, part, partShape);
  const fileShape = part.of === 1 ? partShape : [part.of * partShape[0], ...partShape.slice(1)];
  return { weight, tensor, order: groups.flat(), partShape, part, fileShape };
}

function axisGroups(caller: string, argument: string, axes: unknown, shape: readonly number[]): number[][] {
  const groups: unknown[][] = Array.isArray(axes)
    ? axes.map((axis: unknown): unknown[] => (Array.isArray(axis) ? axis : [axis]))
    : [];
  const sorted = groups.flat().sort();
  if (!Array.isArray(axes) || sorted.length !== shape.length || sorted.some((axis, index) => axis !== index)) {
    const expected = `must have axes that name each of 0 to ${shape.length - 1} once, for its shape ${shown(shape)}`;
    reject(caller, argument, `${expected}, got ${printed(axes)}`);
  }
  return groups as number[][];
}

function checkPart(caller: string, argument: string, part: unknown, partShape: readonly number[]): void {
  const { index, of } = (part ?? {}) as Record<string, unknown>;
  const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  if (!isCount(index) || !isCount(of) || index >= of) {
    reject(caller, argument, `must have a part { index, of } with 0 <= index < of, got ${printed(part)}`);
  }
  if (of > 1 && partShape.length === 0) reject(caller, argument, 'is a scalar, which cannot be a part of a tensor');
}
