import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { KernelCall } from '../common/kernel_call.js';
import { runStep } from '../common/webgpu/step.js';
import { softmaxStep } from '../common/webgpu/step_softmax.js';
import { parallaxAttentionSpec } from './spec.js';

/** `out [..., t, Dv]` of new rows, with their probes, against a cache, to which they are appended. */
export function parallaxAttentionStepWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(parallaxAttentionSpec, kernelCall, (call) => softmaxStep(call, true));
}
