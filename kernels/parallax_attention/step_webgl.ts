import type { TensorInfo } from '@tensorflow/tfjs-core';

import { runStep } from '../common/webgl/texels/step.js';
import type { KernelCall } from '../common/kernel_call.js';
import { parallaxAttentionSpec } from './spec.js';

/** `out [..., t, Dv]` of new rows, with their probes, against a cache, to which they are appended. */
export function parallaxAttentionStepWebGl(kernelCall: KernelCall): TensorInfo[] {
  return runStep(parallaxAttentionSpec, kernelCall, (step, on) => step.rows('probe', on, -1));
}
