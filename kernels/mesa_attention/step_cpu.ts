import type { TensorInfo } from '@tensorflow/tfjs-core';

import { cholesky, choleskySolve, choleskyUpdate } from '../common/cpu/cholesky.js';
import { CpuCall } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { addOuter, applyTransposed, HeldSum, StateRows } from '../common/cpu/state_rows.js';
import { withWorkspace } from '../common/cpu/workspace.js';
import { mesaAttentionSpec } from './spec.js';

/**
 * `out [..., t, Dv]`; the new keys and values go into `keyKeySum`, `keyValueSum` and `count`. The system of the first row
 * is factored, each further key updates the factor.
 */
export function mesaAttentionStepCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(mesaAttentionSpec, kernelCall);
  const ridges = call.optionalValues('ridge');
  return withWorkspace((workspace) => {
    const rows = new StateRows(workspace, call);
    const { batch, heads, Tq, D, Dv } = rows.dims;
    const keyKeySum = new HeldSum(workspace, call.values('keyKeySum') as Float32Array, D * D);
    const keyValueSum = new HeldSum(workspace, call.values('keyValueSum') as Float32Array, D * Dv);
    const held = [rows, keyKeySum, keyValueSum];
    const L = workspace.take(D * D);
    const [ridge, x, newKey] = [0, 1, 2].map(() => workspace.take(D));
    const o = workspace.take(Dv);
    const out = new Float32Array(heads * Tq * Dv);
    const result = call.output(out, call.resultShape);
    for (let h = 0; h < heads; h++) {
      for (const part of held) part.start(h);
      for (let d = 0; d < D; d++) ridge[d] = ridges ? ridges[(h % (heads / batch)) * D + d] : call.attrs.ridge;
      const isUsable = ridge.every((value) => value > 0 && value < Infinity);
      for (let i = 0; i < Tq; i++) {
        const isNew = rows.load(h, i);
        if (isNew) {
          addOuter(keyKeySum.values, rows.key, rows.key);
          addOuter(keyValueSum.values, rows.key, rows.value);
        }
        if (i === 0 && isUsable) {
          L.set(keyKeySum.values);
          for (let d = 0; d < D; d++) L[d * D + d] += ridge[d];
          cholesky(
            L,
            D,
            ridge.reduce((least, value) => Math.min(least, value), Infinity),
          );
        } else if (isNew && isUsable) {
          newKey.set(rows.key);
          choleskyUpdate(L, D, newKey);
        }
        const at = (h * Tq + i) * Dv;
        const state = rows.loadQuery(h, i);
        if (state === 'blind') continue;
        if (state === 'bad' || !isUsable) {
          out.fill(NaN, at, at + Dv);
          continue;
        }
        x.set(rows.query);
        choleskySolve(L, D, x, 0);
        applyTransposed(keyValueSum.values, x, o);
        out.set(o, at);
      }
      for (const part of held) part.finish(h);
    }
    return [result];
  });
}
