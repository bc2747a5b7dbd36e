import { keyValueCache, tensorflowKernels } from '../common/tensorflow/call.js';
import { type SoftmaxAttentionAttrs, softmaxAttentionSpec } from './spec.js';

/** Attributes of every operation whose weights are a softmax of scores. */
export function softmaxOpAttrs({ causal, scale }: SoftmaxAttentionAttrs): { causal: boolean; scale: number } {
  return { causal, scale };
}

export const softmaxAttentionTensorflow = tensorflowKernels(
  softmaxAttentionSpec,
  {
    required: ['query', 'key', 'value'],
    optional: [
      ['keyMask', 'num_masks'],
      ['keyBias', 'num_biases'],
    ],
    attrs: softmaxOpAttrs,
  },
  keyValueCache,
);
