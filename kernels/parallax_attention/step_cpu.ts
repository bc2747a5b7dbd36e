import type { TensorInfo } from '@tensorflow/tfjs-core';

import { copyFinite } from '../common/cpu/head.js';
import { CpuCall } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { attendAndAppend, type StepAttrs } from '../common/cpu/step_rows.js';
import { withWorkspace } from '../common/cpu/workspace.js';
import type { OperatorSpec } from '../common/spec.js';
import { parallaxAttentionSpec } from './spec.js';

/** `out [..., t, Dv]`; the new rows go into `cachedKey`, `cachedValue` and `cachedBias`. */
export function parallaxAttentionStepCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(parallaxAttentionSpec as OperatorSpec<StepAttrs>, kernelCall);
  const given = call.values('probe');
  return withWorkspace((workspace) =>
    attendAndAppend(workspace, call, (scratch, { dims: { Tq, D } }) => {
      const probe = scratch.take(D);
      return (_, h, i) => {
        if (!copyFinite(given, (h * Tq + i) * D, probe, 0, D)) return undefined;
        // x = -r
        for (let d = 0; d < D; d++) probe[d] = -probe[d];
        return probe;
      };
    }),
  );
}
