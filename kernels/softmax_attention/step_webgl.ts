import type { TensorInfo } from '@tensorflow/tfjs-core';

import { runStep } from '../common/webgl/texels/step.js';
import type { KernelCall } from '../common/kernel_call.js';
import { softmaxAttentionSpec } from './spec.js';

/** `out [..., t, Dv]` of new rows against a cache, to which they are appended. */
export function softmaxAttentionStepWebGl(kernelCall: KernelCall): TensorInfo[] {
  return runStep(softmaxAttentionSpec, kernelCall);
}
