import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { StepAttrs } from '../common/step_parts.js';
import type { WebGpuCall } from '../common/webgpu/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { MOST_TOKENS, type StateStep } from '../common/webgpu/state_step.wgsl.js';
import { stateStep } from '../common/webgpu/state_step.js';
import { runStep } from '../common/webgpu/step.js';
import { linearStepShader } from '../linear_attention/step.wgsl.js';
import { type MesaAttentionAttrs, mesaAttentionSpec } from './spec.js';
import { mesaStepFactor, mesaStepRegion, mesaStepSolveShader } from './step.wgsl.js';

const shapeOf = (call: WebGpuCall<MesaAttentionAttrs & StepAttrs>): StateStep => {
  const { D, Dv } = call.dims;
  return { D, Dv, hasMask: call.has('keyMask') };
};

/** `out [..., t, Dv]` of new rows; their keys and values go into `keyKeySum`, `keyValueSum` and `count`. */
export function mesaAttentionStepWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(mesaAttentionSpec, kernelCall, (call) => {
    const { heads, Tq, D } = call.dims;
    const step = shapeOf(call);
    const factor = mesaStepFactor(step, call.device.limits.maxComputeWorkgroupStorageSize);
    const region = 4 * heads * Math.min(Tq, MOST_TOKENS) * mesaStepRegion(factor);
    const solved = call.scratch(4 * heads * Tq * D);
    const solve = {
      shader: mesaStepSolveShader(step, factor, call.has('ridge')),
      buffers: { solved, ...(region > 0 && { work: call.work(region) }) },
    };
    // Linear attention with the solutions for queries.
    const apply = { shader: linearStepShader(step, false), buffers: { query: solved } };
    return stateStep(call, {
      step,
      leftSum: 'keyKeySum',
      rows: [solve, apply],
      params: { ridge: call.attrs.ridge, scale: 1 },
    });
  });
}

/** Only the sums, of keys and values whose rows are known. */
export function mesaAttentionAppendWebGpu(kernelCall: KernelCall): TensorInfo[] {
  const append = (call: WebGpuCall<MesaAttentionAttrs & StepAttrs>) =>
    stateStep(call, { step: shapeOf(call), leftSum: 'keyKeySum' });
  return runStep(mesaAttentionSpec, kernelCall, append, 'Append');
}
