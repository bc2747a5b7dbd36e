import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { KernelCall } from '../common/kernel_call.js';
import { runStep } from '../common/webgpu/step.js';
import { softmaxStep } from '../common/webgpu/step_softmax.js';
import { softmaxAttentionSpec } from './spec.js';

/** `out [..., t, Dv]` of new rows against a cache, to which they are appended. */
export function softmaxAttentionStepWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(softmaxAttentionSpec, kernelCall, (call) => softmaxStep(call, false));
}
