import { keyValueCache, tensorflowKernels } from '../common/tensorflow/call.js';
import { softmaxOpAttrs } from '../softmax_attention/tensorflow.js';
import { localLinearAttentionSpec } from './spec.js';

export const localLinearAttentionTensorflow = tensorflowKernels(
  localLinearAttentionSpec,
  {
    required: ['query', 'key', 'value'],
    optional: [
      ['keyMask', 'num_masks'],
      ['keyBias', 'num_biases'],
      ['ridge', 'num_ridges'],
    ],
    attrs: (attrs) => ({
      ...softmaxOpAttrs(attrs),
      ridge_value: attrs.ridge,
      tolerance: attrs.tolerance,
      max_iterations: attrs.maxIterations,
      solver: attrs.solver,
    }),
    integers: ['max_iterations'],
  },
  keyValueCache,
);
