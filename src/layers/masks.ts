import { logicalAnd, notEqual, reshape, type Tensor } from '@tensorflow/tfjs-core';
import { layers as tfLayers, type SymbolicTensor } from '@tensorflow/tfjs-layers';

import { printed, reject } from '../../kernels/common/validate.js';
import { checkMaskShape, isTensor, type NamedInputs } from './inputs.js';

/** Masks that a call was given or found, one of them or none for each input. */
export interface FoundMasks {
  /** The query's, which is handed on. */
  readonly query?: Tensor;
  /** Those that hide values; each of them may. */
  readonly value: readonly Tensor[];
}

/** What is known of the layer that is called. */
export interface MaskContext {
  /** How errors call it. */
  readonly label: string;
  /** Whether whoever calls can have a mask of the first input. */
  readonly expected: boolean;
  /** Called with what is wrong with a mask that is ignored. */
  readonly warn: (problem: string) => void;
}

/**
 * Whether tfjs can have a mask for a tensor of a model: whether some layer before it makes one and all between hand it
 * on. What feeds an input is unknown, since a model may be part of another.
 */
export function canBeMasked(x: SymbolicTensor, seen = new Set<SymbolicTensor>()): boolean {
  if (seen.has(x)) return false;
  seen.add(x);
  const { inputs, sourceLayer: layer } = x;
  if (inputs.length === 0) return true;
  if (!layer.supportsMasking) return false;
  const makesMasks = inputs.length === 1 && layer.computeMask !== tfLayers.Layer.prototype.computeMask;
  return makesMasks || inputs.some((input) => canBeMasked(input, seen));
}

/** The mask that an earlier layer left on a tensor, if it is still there and fits. */
function attached(x: Tensor): Tensor | undefined {
  const { kerasMask } = x;
  // tfjs sets it to null or undefined, too, whatever its types say.
  if (!isTensor(kerasMask) || kerasMask.isDisposed) return undefined;
  return fits(kerasMask, x) ? kerasMask : undefined;
}

/** Whether a mask is `[B, T]` of `x`; tfjs's `Add` and its siblings put an axis of size 1 in front each time. */
function fits(mask: Tensor, x: Tensor): boolean {
  const [B, T] = mask.shape.slice(-2);
  const lead = mask.shape.slice(0, -2);
  return mask.rank >= 2 && B === x.shape[0] && T === x.shape[1] && lead.every((size) => size === 1);
}

/** A mask that fits, as a tensor `[B, T]` of its own. */
export function plainMask(mask: Tensor): Tensor {
  return reshape(mask, mask.shape.slice(-2));
}

/** `{ mask: [...] }`: one entry per input, each a mask `[B, T]`, null or undefined. */
function listed(label: string, inputs: NamedInputs<Tensor>, masks: readonly unknown[]): (Tensor | undefined)[] {
  const { query, value, key, mask, given } = inputs;
  const owners = [query, value, key].slice(0, given);
  const most = given + (mask === undefined ? 0 : 1);
  if (masks.length < 1 || masks.length > most) {
    reject(label, 'mask', `must have an entry per input, ${most}, got ${masks.length}`);
  }
  // A mask input has no mask of its own; what stands in its place is tfjs's null.
  return owners.map((owner, i) => {
    const entry = masks[i];
    if (entry === null || entry === undefined) return undefined;
    const name = `mask[${i}]`;
    if (!isTensor(entry)) reject(label, name, `must be a tensor or null, got ${printed(entry)}`);
    if (entry.isDisposed) reject(label, name, 'is a disposed tensor');
    checkMaskShape(label, name, entry.shape, owner.shape.slice(0, 2), i === 0 ? '[B, Tq]' : '[B, Tv]');
    return entry;
  });
}

/**
 * `{ mask }` with a single mask, which is the query's.
 *
 * tfjs hands a layer without a mask of its own that of an earlier layer: one that does not fit is ignored.
 */
function single(context: MaskContext, inputs: NamedInputs<Tensor>, mask: unknown): Tensor | undefined {
  const { label, expected, warn } = context;
  if (!isTensor(mask)) reject(label, 'mask', `must be a tensor or an array, got ${printed(mask)}`);
  const { query, value } = inputs;
  const [[B, Tq], [, Tv]] = [query.shape, value.shape];
  if (!fits(mask, query) && mask.rank === 3 && mask.shape[0] === B && mask.shape[1] === Tq && mask.shape[2] === Tv) {
    const problem = `[B, Tq, Tv] is not supported: the attention weights are never stored`;
    reject(label, 'mask', `of shape [${mask.shape.join(', ')}] ${problem}; hide values by a mask [B, Tv]`);
  }
  const problem = problemOf(mask, query, expected);
  if (problem === undefined) return mask;
  warn(`one of shape [${mask.shape.join(', ')}] ${problem}`);
  return undefined;
}

/** Why a single mask cannot be the query's. */
function problemOf(mask: Tensor, query: Tensor, expected: boolean): string | undefined {
  if (mask.isDisposed) return 'is disposed';
  if (!fits(mask, query)) return `does not fit the query of shape [${query.shape.join(', ')}]`;
  return expected ? undefined : 'comes from nowhere: no layer before this one makes or hands on a mask';
}

/** Collects the masks of a call from `{ mask }`, from the inputs themselves, and from an explicit last input. */
export function findMasks(context: MaskContext, inputs: NamedInputs<Tensor>, given: unknown): FoundMasks {
  const { query, value, key, mask } = inputs;
  const masks: (Tensor | undefined)[] = Array.isArray(given)
    ? listed(context.label, inputs, given)
    : [given === undefined || given === null ? undefined : single(context, inputs, given)];
  const [ofQuery = attached(query)] = masks;
  // With one input the query's mask is the values'.
  const ofValue = inputs.given === 1 ? ofQuery : (masks.at(1) ?? attached(value));
  const ofKey = inputs.given === 3 ? (masks.at(2) ?? attached(key)) : undefined;
  return {
    ...(ofQuery && { query: ofQuery }),
    value: [ofValue, ofKey, mask].filter((found) => found !== undefined),
  };
}

/** One bool mask `[B, Tv]` of all that hide values, if there are any. */
export function combineMasks(label: string, masks: readonly Tensor[]): Tensor | undefined {
  const bools = masks.map((mask) => {
    if (mask.isDisposed) reject(label, 'mask', 'is a disposed tensor');
    if (mask.dtype === 'bool') return plainMask(mask);
    if (mask.dtype !== 'float32' && mask.dtype !== 'int32') {
      reject(label, 'mask', `must be bool, or hold zeros and ones, got dtype ${mask.dtype}`);
    }
    return notEqual(plainMask(mask), 0);
  });
  return bools.length === 0 ? undefined : bools.reduce((all, mask) => logicalAnd(all, mask));
}
