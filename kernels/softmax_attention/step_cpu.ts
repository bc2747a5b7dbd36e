import type { TensorInfo } from '@tensorflow/tfjs-core';

import { CpuCall } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { attendAndAppend, type StepAttrs } from '../common/cpu/step_rows.js';
import { withWorkspace } from '../common/cpu/workspace.js';
import type { OperatorSpec } from '../common/spec.js';
import { softmaxAttentionSpec } from './spec.js';

/** `out [..., t, Dv]`; the new rows go into `cachedKey`, `cachedValue` and `cachedBias`. */
export function softmaxAttentionStepCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(softmaxAttentionSpec as OperatorSpec<StepAttrs>, kernelCall);
  return withWorkspace((workspace) => attendAndAppend(workspace, call));
}
