import type { OperatorSpec } from '../common/spec.js';
import {
  softmaxAttrs,
  type SoftmaxAttentionAttrs,
  type SoftmaxAttentionOptions,
  softmaxOptions,
} from '../softmax_attention/spec.js';

export type ParallaxAttentionOptions<TensorLike> = SoftmaxAttentionOptions<TensorLike>;

export type ParallaxAttentionAttrs = SoftmaxAttentionAttrs;

export const parallaxAttentionSpec: OperatorSpec<ParallaxAttentionAttrs> = {
  operator: 'parallaxAttention',
  kernelName: 'ParallaxAttention',
  options: softmaxOptions,
  differentiable: ['query', 'key', 'value', 'probe', 'keyBias'],
  residuals: [],
  attrs: softmaxAttrs,
};
