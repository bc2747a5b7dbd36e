import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { StepAttrs } from '../common/step_parts.js';
import type { Output, WebGpuCall } from '../common/webgpu/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { stateStep } from '../common/webgpu/state_step.js';
import { runStep } from '../common/webgpu/step.js';
import { featureMapOf } from './feature_map.wgsl.js';
import { type LinearAttentionAttrs, linearAttentionSpec } from './spec.js';
import { linearStepShader } from './step.wgsl.js';

function step(call: WebGpuCall<LinearAttentionAttrs & StepAttrs>, hasRows: boolean): Output[] {
  const { D, Dv } = call.dims;
  const { featureMap, normalize, scale } = call.attrs;
  const shape = { D, Dv, hasMask: call.has('keyMask'), map: featureMapOf(featureMap) };
  const rows = hasRows ? [{ shader: linearStepShader(shape, normalize) }] : [];
  return stateStep(call, { step: shape, leftSum: 'keySum', rows, params: { scale } });
}

/** `out [..., t, Dv]` of new rows; their keys and values go into `keySum`, `keyValueSum` and `count`. */
export function linearAttentionStepWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(linearAttentionSpec, kernelCall, (call) => step(call, true));
}

/** Only the sums, of keys and values whose rows are known. */
export function linearAttentionAppendWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(linearAttentionSpec, kernelCall, (call) => step(call, false), 'Append');
}
