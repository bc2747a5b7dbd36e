import { tensorflowKernels } from '../common/tensorflow/call.js';
import { mesaAttentionSpec } from './spec.js';

export const mesaAttentionTensorflow = tensorflowKernels(mesaAttentionSpec, {
  required: ['query', 'key', 'value'],
  optional: [
    ['keyMask', 'num_masks'],
    ['ridge', 'num_ridges'],
  ],
  attrs: ({ causal, ridge }) => ({ causal, ridge_value: ridge }),
});
