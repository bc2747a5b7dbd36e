import { declareFactor, type Factor, factorBytes, factorFloats, solveFactor } from '../common/webgpu/factor.wgsl.js';
import { IS_FINITE } from '../common/webgpu/prepare.wgsl.js';
import { rowLoad } from '../common/webgpu/row_load.js';
import { rowStore } from '../common/webgpu/row_store.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import { MOST_RANGES, stepParams } from '../common/webgpu/step.wgsl.js';
import { type KeyStep, statisticsLayout } from './step.wgsl.js';

const THREADS = 256;

/** Ranges of which a thread reads at a time. */
const AHEAD = 8;

/** Whether a system of that size fits in `bytes` of workgroup memory beside what else the shader keeps there. */
export function stepFactor(step: KeyStep, bytes: number): Factor {
  const factor = { D: step.D, threads: THREADS, isLocal: true };
  return { ...factor, isLocal: factorBytes(factor) + otherBytes(step) <= bytes };
}

const otherBytes = (step: KeyStep): number => 16 * statisticsLayout(step).columnQuads + 20 * MOST_RANGES;

/** Numbers of `work` that a row takes where its system does not fit. */
export const factorRegion = ({ D, isLocal }: Factor): number => (isLocal ? 0 : Math.ceil(factorFloats(D) / 4) * 4);

/**
 * Joins a row's ranges and solves: with means over all its keys `C = mean(z z^T) - zbar zbar^T`, the probe
 * `-(C + ridge I)^-1 (q - kbar)`, with which Parallax attention is local linear attention:
 * `o = vbar + cov(v, k) (C + ridge I)^-1 (q - kbar)`. A ridge that cannot be used makes the probe, and so the row, not a
 * number. One workgroup a row: `probe [heads, t, D]`. Workgroups: rows, heads.
 */
export function stepSolveShader(step: KeyStep, factor: Factor, hasRidge: boolean): Shader {
  const { D } = step;
  const { columnQuads, quads } = statisticsLayout(step);
  const [query, probe] = [rowLoad('query', D, true), rowStore('probe', D)];
  const barrier = factor.isLocal ? 'workgroupBarrier();' : 'storageBarrier(); workgroupBarrier();';
  return {
    key: `stepSolve ${JSON.stringify([D, factor.isLocal, hasRidge])}`,
    workgroupSize: THREADS,
    params: { ...stepParams, ranges: 'u32', nan: 'f32', ...(!hasRidge && { ridge: 'f32' as const }) },
    buffers: {
      statistics: { access: 'read', element: 'vec4f' },
      query: query.buffer,
      centre: { access: 'read', element: 'vec4f' },
      ...(hasRidge && { ridge: { access: 'read', element: 'f32' } as const }),
      probe: probe.buffer,
      ...(!factor.isLocal && { work: { access: 'read_write', element: 'f32' } as const }),
    },
    workgroupBytes: factorBytes(factor) + otherBytes(step),
    text: () => `
${IS_FINITE}
${query.text}${probe.text}
${declareFactor(factor)}
var<workgroup> means: array<vec4f, ${columnQuads}>;
var<workgroup> infos: array<vec4f, ${MOST_RANGES}>;
var<workgroup> factors: array<f32, ${MOST_RANGES}>;
// Mean of quad \`at\` of the statistics over all ranges, of which several are read at a time.
fn joined(base: u32, at: u32) -> vec4f {
  var sum = vec4f();
  var range = 0u;
  for (; range + ${AHEAD}u <= params.ranges; range += ${AHEAD}u) {
    ${unroll(AHEAD, (e) => `let x${e} = statistics[base + (range + ${e}u) * ${quads}u + at];`, ' ')}
    ${unroll(AHEAD, (e) => `sum = fma(x${e}, vec4f(factors[range + ${e}u]), sum);`, ' ')}
  }
  for (; range < params.ranges; range++) { sum = fma(statistics[base + range * ${quads}u + at], vec4f(factors[range]), sum); }
  return sum;
}
@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let head = workgroup.y;
  let row = head * params.t + params.firstRow + workgroup.x;
  ${factor.isLocal ? '' : `region = (head * params.rows + workgroup.x) * ${factorRegion(factor)}u;`}
  let ridge = ${hasRidge ? 'ridge[row]' : 'params.ridge'};
  let base = (head * params.rows + workgroup.x) * params.ranges * ${quads}u;
  if (tid < params.ranges) { infos[tid] = statistics[base + tid * ${quads}u + ${quads - 1}u]; }
  workgroupBarrier();
  var m = -1e20;
  for (var range = 0u; range < params.ranges; range++) { m = max(m, infos[range].x); }
  var total = 0.0;
  for (var range = 0u; range < params.ranges; range++) { total += infos[range].y * exp2(max(infos[range].x - m, -200.0)); }
  // A row that sees no key has no statistics; what its probe is does not matter.
  if (tid < params.ranges) { factors[tid] = exp2(max(infos[tid].x - m, -200.0)) / max(total, 1e-37); }
  workgroupBarrier();
  if (tid < ${columnQuads}u) { means[tid] = joined(base, ${quads - 1 - columnQuads}u + tid); }
  workgroupBarrier();
  for (var at = tid; at < ${D * columnQuads}u; at += ${THREADS}u) {
    let r = at / ${columnQuads}u;
    let c = at % ${columnQuads}u;
    if (4u * c > r) { continue; }
    let covariance = joined(base, at) - means[r / 4u][r % 4u] * means[c];
    for (var e = 0u; e < 4u && 4u * c + e <= r; e++) {
      setEntry(r, 4u * c + e, covariance[e] + select(0.0, ridge, 4u * c + e == r));
    }
  }
  if (tid < ${columnQuads}u) {
    let right = means[tid] + centre[head * ${columnQuads}u + tid] - load_query(row, tid);
    for (var e = 0u; e < 4u && 4u * tid + e < ${D}u; e++) { setEntry(${D}u, 4u * tid + e, right[e]); }
  }
  ${barrier}
  ${solveFactor(factor, 'ridge')}
  if (tid < ${columnQuads}u) {
    let x = vec4f(solution[4u * tid], solution[4u * tid + 1u], solution[4u * tid + 2u], solution[4u * tid + 3u]);
    store_probe(row, tid, select(vec4f(params.nan), x, isFinite(ridge) && ridge > 0.0));
  }
}`,
  };
}
