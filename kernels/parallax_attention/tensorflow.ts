import { keyValueCache, tensorflowKernels } from '../common/tensorflow/call.js';
import { softmaxOpAttrs } from '../softmax_attention/tensorflow.js';
import { parallaxAttentionSpec } from './spec.js';

export const parallaxAttentionTensorflow = tensorflowKernels(
  parallaxAttentionSpec,
  {
    required: ['query', 'key', 'value', 'probe'],
    optional: [
      ['keyMask', 'num_masks'],
      ['keyBias', 'num_biases'],
    ],
    attrs: softmaxOpAttrs,
  },
  keyValueCache,
);
