import type { TensorInfo } from '@tensorflow/tfjs-core';

import { probeAttention, probeAttentionGradient } from '../common/cpu/probe_attention.js';
import { CpuCall } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { withWorkspace } from '../common/cpu/workspace.js';
import { softmaxAttentionSpec } from './spec.js';

/** `out [..., Tq, Dv]`: the probe is zero. */
export function softmaxAttentionCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(softmaxAttentionSpec, kernelCall);
  const { out } = withWorkspace((workspace) => probeAttention(workspace, call.problem(), call.attrs));
  return [call.output(out, call.resultShape)];
}

export function softmaxAttentionGradCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(softmaxAttentionSpec, kernelCall);
  const gradient = withWorkspace((workspace) =>
    probeAttentionGradient(workspace, call.problem(), call.attrs, call.values('dout')),
  );
  return call.gradients({
    query: gradient.dquery,
    key: gradient.dkey,
    value: gradient.dvalue,
    keyBias: gradient.dkeyBias,
  });
}
