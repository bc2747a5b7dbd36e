import type { TensorInfo } from '@tensorflow/tfjs-core';

import { CpuCall } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { dot } from '../common/cpu/solve.js';
import { addOuter, applyTransposed, HeldSum, StateRows } from '../common/cpu/state_rows.js';
import { withWorkspace } from '../common/cpu/workspace.js';
import { featureMapValue } from './feature_map.js';
import { linearAttentionSpec } from './spec.js';

/** `out [..., t, Dv]`; the new keys and values go into `keySum`, `keyValueSum` and `count`. */
export function linearAttentionStepCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(linearAttentionSpec, kernelCall);
  const { featureMap, normalize, scale } = call.attrs;
  const phi = featureMapValue(featureMap);
  return withWorkspace((workspace) => {
    const rows = new StateRows(workspace, call);
    const { heads, Tq, D, Dv } = rows.dims;
    const keySum = new HeldSum(workspace, call.values('keySum') as Float32Array, D);
    const keyValueSum = new HeldSum(workspace, call.values('keyValueSum') as Float32Array, D * Dv);
    const held = [rows, keySum, keyValueSum];
    const features = workspace.take(D);
    const o = workspace.take(Dv);
    const out = new Float32Array(heads * Tq * Dv);
    const result = call.output(out, call.resultShape);
    for (let h = 0; h < heads; h++) {
      for (const part of held) part.start(h);
      for (let i = 0; i < Tq; i++) {
        if (rows.load(h, i)) {
          for (let d = 0; d < D; d++) features[d] = phi(rows.key[d]);
          for (let d = 0; d < D; d++) keySum.values[d] += features[d];
          addOuter(keyValueSum.values, features, rows.value);
        }
        const at = (h * Tq + i) * Dv;
        const state = rows.loadQuery(h, i);
        if (state === 'bad') out.fill(NaN, at, at + Dv);
        if (state !== 'ordinary') continue;
        for (let d = 0; d < D; d++) features[d] = phi(rows.query[d]);
        const normalizer = dot(features, 0, keySum.values, 0, D);
        const factor = normalize ? (normalizer === 0 ? 0 : 1 / normalizer) : scale;
        applyTransposed(keyValueSum.values, features, o);
        for (let d = 0; d < Dv; d++) out[at + d] = factor * o[d];
      }
      for (const part of held) part.finish(h);
    }
    return [result];
  });
}
