import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { KernelCall } from '../common/webgpu/call.js';
import { MOST_TOKENS } from '../common/webgpu/state_step.wgsl.js';
import { stateStep } from '../common/webgpu/state_step.js';
import { runStep } from '../common/webgpu/step.js';
import { mesaAttentionSpec } from './spec.js';
import { mesaStepFactor, mesaStepRegion, mesaStepShader } from './step.wgsl.js';

/** `out [..., t, Dv]` of new rows; their keys and values go into `keyKeySum`, `keyValueSum` and `count`. */
export function mesaAttentionStepWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(mesaAttentionSpec, kernelCall, (call) => {
    const { heads, Tq, D, Dv } = call.dims;
    const step = { D, Dv, hasMask: call.has('keyMask') };
    const factor = mesaStepFactor(step, call.device.limits.maxComputeWorkgroupStorageSize);
    const region = 4 * heads * Math.min(Tq, MOST_TOKENS) * mesaStepRegion(factor);
    return stateStep(call, {
      step,
      leftSum: 'keyKeySum',
      rows: mesaStepShader(step, factor, call.has('ridge')),
      ...(region > 0 && { buffers: { work: call.work(region) } }),
      params: { ridge: call.attrs.ridge },
    });
  });
}
