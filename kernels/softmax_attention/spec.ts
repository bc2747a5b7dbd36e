import type { AttentionDims } from '../common/dims.js';
import {
  type AttentionAttrs,
  type AttentionOptions,
  commonAttrs,
  commonOptions,
  type OperatorSpec,
} from '../common/spec.js';
import { isFiniteNumber, isTensorLike } from '../common/validate.js';

export interface SoftmaxAttentionOptions<TensorLike> extends AttentionOptions<TensorLike> {
  /** Multiplies the scores. Default `1 / sqrt(D)`. */
  scale?: number;
  /**
   * `[B, Tk]` or `[..., Tk]`, added to the scores, differentiable. With `-scale * |k|^2 / 2` the weights are a Gaussian
   * kernel of the distance between query and key. `-Infinity` hides a key. Default: none.
   */
  keyBias?: TensorLike;
}

export type SoftmaxAttentionAttrs = AttentionAttrs & {
  /** Multiplies the scores. */
  scale: number;
};

export const softmaxOptions = { ...commonOptions, scale: isFiniteNumber, keyBias: isTensorLike };

/** Attributes of every operator whose weights are a softmax of scores. */
export function softmaxAttrs(options: SoftmaxAttentionOptions<unknown>, dims: AttentionDims): SoftmaxAttentionAttrs {
  return { ...commonAttrs(options), scale: options.scale ?? 1 / Math.sqrt(dims.D) };
}

export const softmaxAttentionSpec: OperatorSpec<SoftmaxAttentionAttrs> = {
  operator: 'softmaxAttention',
  kernelName: 'SoftmaxAttention',
  options: softmaxOptions,
  differentiable: ['query', 'key', 'value', 'keyBias'],
  residuals: [],
  attrs: softmaxAttrs,
};
