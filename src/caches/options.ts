import { clone, keep, type Tensor, tidy, type TensorLike } from '@tensorflow/tfjs-core';

import {
  checkOptions,
  checkRidgeValues,
  isBoolean,
  isPositiveInteger,
  isTensorLike,
  type OptionCheck,
  reject,
} from '../../kernels/common/validate.js';
import { toTensor } from '../ops/tensors.js';
import type { CachedOperator } from './operators.js';

/** Options of a cache, checked, defaults filled in. */
export interface CacheSettings {
  /** The operator's own options; a ridge in them is a number or a tensor that the cache keeps. */
  readonly constants: { readonly ridge?: Tensor | number };
  readonly capacity: number;
  readonly grow: boolean;
  /** 0: none. */
  readonly window: number;
}

const DEFAULT_CAPACITY = 1024;

/** Options of the operator that belong to a step. */
const PER_STEP = ['keyMask', 'keyBias'];

/** Options that an operator or another cache has, and why this one does not. */
function refusedOptions({ kind }: CachedOperator): Readonly<Record<string, string>> {
  return {
    causal: 'is no option of a cache: a row of a step always sees the keys up to its own, and no later ones',
    ...(kind.isConstantSize && {
      window: 'is not available: sums over keys are all that is kept, and a single token cannot be taken out of them',
    }),
  };
}

/** Checks the options of `attentionCache` and takes a copy of a ridge that is no number. */
export function cacheSettings(cached: CachedOperator, options: object): CacheSettings {
  const { spec } = cached;
  const refused = refusedOptions(cached);
  const checks: Record<string, OptionCheck> = {
    ...spec.options,
    capacity: isPositiveInteger,
    grow: isBoolean,
    window: isPositiveInteger,
  };
  const taken = Object.entries(checks).filter(([name]) => !PER_STEP.includes(name) && !(name in refused));
  for (const [option, why] of Object.entries(refused)) {
    if ((options as Record<string, unknown> | null)?.[option] !== undefined) reject(spec.operator, option, why);
  }
  checkOptions(spec.operator, options, Object.fromEntries(taken));
  const { capacity, grow, window, ridge, ...rest } = options as Partial<CacheSettings> & {
    ridge?: Tensor | TensorLike | number;
  };
  if (typeof ridge === 'number' || Array.isArray(ridge) || ArrayBuffer.isView(ridge)) {
    checkRidgeValues(spec.operator, ridge);
  }
  return {
    constants: { ...rest, ...(ridge !== undefined && { ridge: keptRidge(spec.operator, ridge) }) },
    capacity: window ?? capacity ?? DEFAULT_CAPACITY,
    grow: grow ?? true,
    window: window ?? 0,
  };
}

/** A tensor is immutable, and the data of a variable are replaced, not written over: a clone may share them. */
function keptRidge(operator: string, ridge: Tensor | TensorLike | number): Tensor | number {
  if (typeof ridge === 'number') return ridge;
  return tidy(() => keep(clone(toTensor(operator, 'ridge', ridge))));
}

/** Checks the names and kinds of the options of a step. */
export function checkStepOptions({ spec }: CachedOperator, options: unknown): void {
  const names = ['ridge', ...PER_STEP].filter((name) => name in spec.options);
  if (spec.differentiable.includes('probe')) names.push('probe');
  checkOptions(spec.operator, options, Object.fromEntries(names.map((name) => [name, isTensorLike])));
}

/** Checks the indices of `reorder`. */
export function checkIndices(operator: string, indices: unknown, batch: number): void {
  if (!Array.isArray(indices) && !ArrayBuffer.isView(indices)) {
    reject(operator, 'reorder', `takes an array of indices, got ${typeof indices}`);
  }
  const list = Array.from(indices as ArrayLike<unknown>);
  if (list.length !== batch) {
    reject(
      operator,
      'reorder',
      `takes one index for each of ${batch} entries of the first dimension, got ${list.length}`,
    );
  }
  for (const index of list) {
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= batch) {
      reject(operator, 'reorder', `takes integers from 0 to ${batch - 1}, got ${String(index)}`);
    }
  }
}
