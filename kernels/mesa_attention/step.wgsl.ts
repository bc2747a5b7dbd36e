import { declareFactor, type Factor, factorBytes, factorFloats, solveFactor } from '../common/webgpu/factor.wgsl.js';
import type { Shader } from '../common/webgpu/shader.js';
import { STATE_THREADS, stateRows, type StateStep } from '../common/webgpu/state_step.wgsl.js';

/** How a system of that size is factored in `bytes` of workgroup memory, beside what else the shader keeps there. */
export function mesaStepFactor(step: StateStep, bytes: number): Factor {
  const factor = { D: step.D, threads: STATE_THREADS, isLocal: true };
  return { ...factor, isLocal: factorBytes(factor) + stateRows(step, true).workgroupBytes <= bytes };
}

/** Numbers of `work` that a row takes where its system does not fit. */
export const mesaStepRegion = ({ D, isLocal }: Factor): number => (isLocal ? 0 : factorFloats(D));

/** `out_i = (G_i + diag(ridge))^-1 q_i`, applied to `S_i`, with `G_i` and `S_i` the sums up to row `i`; see `stateRows`. */
export function mesaStepShader(step: StateStep, factor: Factor, hasRidge: boolean): Shader {
  const { D } = step;
  const rows = stateRows(step, true);
  const barrier = factor.isLocal ? 'workgroupBarrier();' : 'storageBarrier(); workgroupBarrier();';
  return {
    key: `mesaStep ${JSON.stringify([step, factor.isLocal, hasRidge])}`,
    workgroupSize: STATE_THREADS,
    params: { ...rows.params, ...(!hasRidge && { ridge: 'f32' as const }) },
    buffers: {
      ...rows.buffers,
      keyKeySum: { access: 'read', element: 'f32' },
      ...(hasRidge && { ridge: { access: 'read', element: 'f32' } as const }),
      ...(!factor.isLocal && { work: { access: 'read_write', element: 'f32' } as const }),
    },
    workgroupBytes: rows.workgroupBytes + factorBytes(factor),
    text: () => `
${rows.declarations}
${declareFactor(factor)}
fn ridgeOf(head: u32, r: u32) -> f32 { return ${hasRidge ? `ridge[(head % params.headsPerBatch) * ${D}u + r]` : 'params.ridge'}; }
@compute @workgroup_size(${STATE_THREADS})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  ${rows.begin}
  ${factor.isLocal ? '' : `region = (head * params.rows + workgroup.x) * ${mesaStepRegion(factor)}u;`}
  var isBadRidge = false;
  for (var r = 0u; r < ${D}u; r++) { let ridge = ridgeOf(head, r); isBadRidge = isBadRidge || !isFinite(ridge) || ridge <= 0.0; }
  for (var at = tid; at < ${D * D}u; at += ${STATE_THREADS}u) {
    let r = at / ${D}u;
    let c = at % ${D}u;
    if (c > r) { continue; }
    var sum = keyKeySum[head * ${D * D}u + at] + select(0.0, ridgeOf(head, r), c == r);
    for (var j = 0u; j < count; j++) {
      if (isUsed(j)) { sum = fma(key[(firstToken + j) * ${D}u + r], key[(firstToken + j) * ${D}u + c], sum); }
    }
    setEntry(r, c, sum);
  }
  for (var c = tid; c < ${D}u; c += ${STATE_THREADS}u) { setEntry(${D}u, c, left[c]); }
  ${barrier}
  ${solveFactor(factor, 'ridgeOf(head, k)')}
  for (var c = tid; c < ${D}u; c += ${STATE_THREADS}u) { left[c] = solution[c]; }
  workgroupBarrier();
  ${rows.products}
  ${rows.write('1.0', 'isBadRidge')}
}`,
  };
}
