import type { TensorInfo } from '@tensorflow/tfjs-core';

import { copyFinite } from '../common/cpu/head.js';
import { probeAttention, probeAttentionGradient, type ProbeMaker } from '../common/cpu/probe_attention.js';
import { CpuCall } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { withWorkspace } from '../common/cpu/workspace.js';
import { parallaxAttentionSpec } from './spec.js';

/** `x = -r` for the fourth input `r [heads, Tq, D]`. */
function givenProbe(r: ArrayLike<number>): ProbeMaker {
  return () => ({
    find(tile, head, probe) {
      const { Tq, D } = tile.dims;
      for (let row = 0; row < tile.rows; row++) {
        tile.requireRow(row, copyFinite(r, (head * Tq + tile.start + row) * D, probe, row * D, D));
      }
      for (let i = 0; i < tile.rows * D; i++) probe[i] = -probe[i];
    },
  });
}

/** `out [..., Tq, Dv]` */
export function parallaxAttentionCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(parallaxAttentionSpec, kernelCall);
  const probe = givenProbe(call.values('probe'));
  const { out } = withWorkspace((workspace) => probeAttention(workspace, call.problem(), call.attrs, probe));
  return [call.output(out, call.resultShape)];
}

export function parallaxAttentionGradCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(parallaxAttentionSpec, kernelCall);
  const probe = givenProbe(call.values('probe'));
  const gradient = withWorkspace((workspace) =>
    probeAttentionGradient(workspace, call.problem(), call.attrs, call.values('dout'), probe),
  );
  return call.gradients({
    query: gradient.dquery,
    key: gradient.dkey,
    value: gradient.dvalue,
    probe: gradient.dprobe.map((dx) => -dx),
    keyBias: gradient.dkeyBias,
  });
}
