import { tensorflowKernels } from '../common/tensorflow/call.js';
import { linearAttentionSpec } from './spec.js';

export const linearAttentionTensorflow = tensorflowKernels(linearAttentionSpec, {
  required: ['query', 'key', 'value'],
  optional: [['keyMask', 'num_masks']],
  attrs: ({ causal, scale, featureMap, normalize }) => ({ causal, scale, feature_map: featureMap, normalize }),
});
