import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { KernelCall } from '../common/webgpu/call.js';
import { stateStep } from '../common/webgpu/state_step.js';
import { runStep } from '../common/webgpu/step.js';
import { featureMapOf } from './feature_map.wgsl.js';
import { linearAttentionSpec } from './spec.js';
import { linearStepShader } from './step.wgsl.js';

/** `out [..., t, Dv]` of new rows; their keys and values go into `keySum`, `keyValueSum` and `count`. */
export function linearAttentionStepWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(linearAttentionSpec, kernelCall, (call) => {
    const { D, Dv } = call.dims;
    const { featureMap, normalize, scale } = call.attrs;
    const step = { D, Dv, hasMask: call.has('keyMask'), map: featureMapOf(featureMap) };
    return stateStep(call, { step, leftSum: 'keySum', rows: linearStepShader(step, normalize), params: { scale } });
  });
}
