import { declareFactor, type Factor, factorBytes, factorFloats, solveFactor } from '../common/webgpu/factor.wgsl.js';
import type { Shader } from '../common/webgpu/shader.js';
import {
  declareTokens,
  MOST_TOKENS,
  readTokens,
  STATE_THREADS,
  type StateStep,
  tokenBuffers,
  tokenParams,
} from '../common/webgpu/state_step.wgsl.js';

/** Bytes of workgroup memory beside the system. */
const OTHER_BYTES = 4 * MOST_TOKENS;

/** How a system of that size is factored in `bytes` of workgroup memory. */
export function mesaStepFactor({ D }: StateStep, bytes: number): Factor {
  const factor = { D, threads: STATE_THREADS, isLocal: true };
  return { ...factor, isLocal: factorBytes(factor) + OTHER_BYTES <= bytes };
}

/** Numbers of `work` that a row takes where its system does not fit. */
export const mesaStepRegion = ({ D, isLocal }: Factor): number => (isLocal ? 0 : factorFloats(D));

/**
 * `solved_i = (G_i + diag(ridge))^-1 q_i`, with `G_i` the sum of `k k^T` up to row `i`: `solved [heads, t, D]`, not a number
 * where the ridge cannot be used. One workgroup a row. Workgroups: rows, heads.
 */
export function mesaStepSolveShader(step: StateStep, factor: Factor, hasRidge: boolean): Shader {
  const { D, hasMask } = step;
  const tokens = { D, Dv: 0, hasMask };
  const barrier = factor.isLocal ? 'workgroupBarrier();' : 'storageBarrier(); workgroupBarrier();';
  return {
    key: `mesaStepSolve ${JSON.stringify([tokens, factor.isLocal, hasRidge])}`,
    workgroupSize: STATE_THREADS,
    params: { ...tokenParams(tokens, hasRidge), nan: 'f32', ...(!hasRidge && { ridge: 'f32' as const }) },
    buffers: {
      query: { access: 'read', element: 'f32' },
      ...tokenBuffers(tokens),
      keyKeySum: { access: 'read', element: 'f32' },
      ...(hasRidge && { ridge: { access: 'read', element: 'f32' } as const }),
      solved: { access: 'read_write', element: 'f32' },
      ...(!factor.isLocal && { work: { access: 'read_write', element: 'f32' } as const }),
    },
    workgroupBytes: OTHER_BYTES + factorBytes(factor),
    text: () => `
${declareTokens(tokens)}
${declareFactor(factor)}
fn ridgeOf(head: u32, r: u32) -> f32 { return ${hasRidge ? `ridge[(head % params.headsPerBatch) * ${D}u + r]` : 'params.ridge'}; }
@compute @workgroup_size(${STATE_THREADS})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let head = workgroup.y;
  let row = head * params.t + params.firstRow + workgroup.x;
  let count = workgroup.x + 1u;
  ${factor.isLocal ? '' : `region = (head * params.rows + workgroup.x) * ${mesaStepRegion(factor)}u;`}
  ${readTokens(tokens, 'count')}
  var isUsable = true;
  for (var r = 0u; r < ${D}u; r++) { let ridge = ridgeOf(head, r); isUsable = isUsable && isFinite(ridge) && ridge > 0.0; }
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
  for (var c = tid; c < ${D}u; c += ${STATE_THREADS}u) { setEntry(${D}u, c, query[row * ${D}u + c]); }
  ${barrier}
  ${solveFactor(factor, 'ridgeOf(head, k)')}
  for (var c = tid; c < ${D}u; c += ${STATE_THREADS}u) { solved[row * ${D}u + c] = select(params.nan, solution[c], isUsable); }
}`,
  };
}
