import type { layers as tfLayers } from '@tensorflow/tfjs-layers';

import type { Precision } from '../../kernels/common/spec.js';
import {
  isBoolean,
  isOneOf,
  isPositiveInteger,
  isPositiveNumber,
  type OptionCheck,
  printed,
  reject,
} from '../../kernels/common/validate.js';
import { isRotary, type RotaryArgs } from './rotary.js';

/** Arguments that every layer of tfjs takes. */
export type LayerArgs = NonNullable<ConstructorParameters<typeof tfLayers.Layer>[0]>;

type DenseArgs = Parameters<typeof tfLayers.dense>[0];

/** How weights begin, what is added to the loss for them, and what holds after each step: as for `tf.layers.dense`. */
export type WeightArgs = Pick<
  DenseArgs,
  | 'kernelInitializer'
  | 'biasInitializer'
  | 'kernelRegularizer'
  | 'biasRegularizer'
  | 'kernelConstraint'
  | 'biasConstraint'
>;

/** Arguments that every attention layer has; names and defaults are those of Keras' `MultiHeadAttention`. */
export interface AttentionArgs extends LayerArgs, WeightArgs {
  /** Number of heads. */
  numHeads: number;
  /** Size of a head's queries and keys. */
  keyDim: number;
  /** Size of a head's values. Default `keyDim`. */
  valueDim?: number;
  /**
   * Share of the numbers of the heads' outputs that is dropped in training, in `[0, 1)`; the rest is scaled up. Keras
   * drops attention weights instead, which here are never stored. Default 0.
   */
  dropout?: number;
  /** Makes what `dropout` drops repeatable from the layer's creation on. Default: none. */
  seed?: number;
  /** Whether the projections add a bias. Default `true`. */
  useBias?: boolean;
  /** Features of the output: a size, or several. Default: those of the query. */
  outputShape?: number | number[];
  /** Query `i` sees values `0 .. i` only, also where there are more or fewer values than queries. Default `false`. */
  useCausalMask?: boolean;
  /** Rotary position embedding of queries and keys; `true` for `{ base: 10000, fraction: 1 }`. Default `false`. */
  rotary?: boolean | RotaryArgs;
  /** `'fast'` lets a backend use half-precision operands (see the operators). Default `'high'`. */
  precision?: Precision;
  /** Keras' name; refused, since tfjs has no activity regularizers. */
  activityRegularizer?: null;
}

export type ArgumentChecks = Readonly<Record<string, OptionCheck>>;

const accept: OptionCheck = () => undefined;

/** Arguments of tfjs's base class, which checks them or uses them as they are. */
export const layerArguments: ArgumentChecks = {
  name: (layer, argument, value) => {
    if (typeof value !== 'string') reject(layer, argument, `must be a string, got ${printed(value)}`);
  },
  trainable: isBoolean,
  inputShape: accept,
  batchInputShape: accept,
  batchSize: accept,
  dtype: accept,
  inputDType: accept,
  weights: accept,
};

const isRate: OptionCheck = (layer, argument, value) => {
  if (typeof value !== 'number' || !(value >= 0 && value < 1)) {
    reject(layer, argument, `must be a number in [0, 1), got ${printed(value)}`);
  }
};

const isInteger: OptionCheck = (layer, argument, value) => {
  if (!Number.isSafeInteger(value)) reject(layer, argument, `must be an integer, got ${printed(value)}`);
};

const isOutputShape: OptionCheck = (layer, argument, value) => {
  const sizes: unknown[] = Array.isArray(value) ? value : [value];
  if (sizes.length > 0 && sizes.every((size) => Number.isSafeInteger(size) && Number(size) > 0)) return;
  reject(layer, argument, `must be a positive integer or an array of them, got ${printed(value)}`);
};

const isNever: OptionCheck = (layer, argument) =>
  reject(layer, argument, 'is not supported: TensorFlow.js refuses activity regularizers in every layer');

/** Arguments that reach the weights; `weight_settings.ts` resolves them. */
const weightArguments: ArgumentChecks = {
  kernelInitializer: accept,
  biasInitializer: accept,
  kernelRegularizer: accept,
  biasRegularizer: accept,
  kernelConstraint: accept,
  biasConstraint: accept,
};

/** Arguments of every attention layer. */
export const attentionArguments: ArgumentChecks = {
  ...layerArguments,
  numHeads: isPositiveInteger,
  keyDim: isPositiveInteger,
  valueDim: isPositiveInteger,
  dropout: isRate,
  seed: isInteger,
  useBias: isBoolean,
  outputShape: isOutputShape,
  useCausalMask: isBoolean,
  rotary: isRotary,
  precision: isOneOf('high', 'fast'),
  ...weightArguments,
  activityRegularizer: isNever,
};

/** Arguments of layers that have a ridge. */
export interface RidgeArgs {
  /** Ridge of the regression, positive; where it is trained, its value at the start. Default 1. */
  ridge?: number;
  /** Whether each head learns its ridge, which is kept positive (`softplus`) and saved. Default `false`. */
  trainableRidge?: boolean;
}

export const ridgeArguments: ArgumentChecks = { ridge: isPositiveNumber, trainableRidge: isBoolean };

/** How errors and warnings call a layer: its kind and its name. */
export function layerLabel(kind: string, name: unknown): string {
  return typeof name === 'string' ? `${kind} '${name}'` : kind;
}

/**
 * Checks a layer's arguments and returns those that were given: a saved configuration has `null` for the others. Throws
 * an error that names layer and argument for one that is unknown, missing or unusable.
 */
export function checkArguments<Args extends object>(
  kind: string,
  args: Args | undefined,
  checks: ArgumentChecks,
  required: readonly string[],
): Args {
  // Called from JavaScript, anything may come.
  const given: unknown = args ?? {};
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    reject(kind, 'arguments', `must be an object, got ${printed(given)}`);
  }
  const { name } = given as LayerArgs;
  const label = layerLabel(kind, name);
  const entries = Object.entries(given).filter(([, value]) => value !== undefined && value !== null);
  for (const argument of Object.keys(given)) {
    if (!Object.hasOwn(checks, argument)) {
      reject(label, argument, `is no argument of this layer; it has ${Object.keys(checks).join(', ')}`);
    }
  }
  for (const argument of required) {
    if (!entries.some(([name]) => name === argument)) reject(label, argument, 'is missing');
  }
  for (const [argument, value] of entries) checks[argument](label, argument, value);
  return Object.fromEntries(entries) as Args;
}

/** Arguments of Keras' call that cannot be one here, and what to do instead. */
const CALL_ARGUMENTS: Readonly<Record<string, string>> = {
  useCausalMask: 'is an argument of the layer, not of a call: tfjs would drop it in a model',
  attentionMask: 'is not supported: the attention weights are never stored; hide values by a mask [B, Tv]',
  returnAttentionScores: 'is not supported: the attention weights are never stored; see attentionWeights',
  queryMask: 'goes into { mask: [queryMask, valueMask] }',
  valueMask: 'goes into { mask: [queryMask, valueMask] }, or is the last input',
  keyMask: 'goes into { mask: [queryMask, valueMask, keyMask] }',
  value: 'is an input: apply([query, value])',
  key: 'is an input: apply([query, value, key])',
};

/** Refuses what Keras takes in a call and this layer would silently ignore. */
export function checkCallArguments(label: string, kwargs: Readonly<Record<string, unknown>>): void {
  for (const [argument, advice] of Object.entries(CALL_ARGUMENTS)) {
    if (kwargs[argument] !== undefined && kwargs[argument] !== null) reject(label, argument, advice);
  }
}
