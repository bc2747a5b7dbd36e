import type { Shader } from '../common/webgpu/shader.js';
import { STATE_THREADS, stateRows, type StateStep } from '../common/webgpu/state_step.wgsl.js';

/** `out_i = factor phi(q_i)^T S_i`, with one over `phi(q_i) . z_i` (or the scale) for the factor; see `stateRows`. */
export function linearStepShader(step: StateStep, normalize: boolean): Shader {
  const { D } = step;
  const rows = stateRows(step);
  const normalizer = `
  var normalizer = 0.0;
  for (var r = 0u; r < ${D}u; r++) { normalizer = fma(left[r], keySum[head * ${D}u + r], normalizer); }
  for (var j = 0u; j < count; j++) { normalizer += products[j]; }
  let factor = select(1.0 / normalizer, 0.0, normalizer == 0.0);`;
  return {
    key: `linearStep ${JSON.stringify([step, normalize])}`,
    workgroupSize: STATE_THREADS,
    params: { ...rows.params, ...(!normalize && { scale: 'f32' as const }) },
    buffers: { ...rows.buffers, ...(normalize && { keySum: { access: 'read', element: 'f32' } as const }) },
    workgroupBytes: rows.workgroupBytes,
    text: () => `
${rows.declarations}
@compute @workgroup_size(${STATE_THREADS})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  ${rows.begin}
  ${rows.products}
  ${normalize ? normalizer : 'let factor = params.scale;'}
  ${rows.write('factor')}
}`,
  };
}
