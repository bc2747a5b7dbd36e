import { declareFactor, type Factor, factorBytes, factorFloats, solveFactor } from '../common/webgpu/factor.wgsl.js';
import { IS_FINITE } from '../common/webgpu/prepare.wgsl.js';
import { rowLoad } from '../common/webgpu/row_load.js';
import { rowStore } from '../common/webgpu/row_store.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import { IS_FINITE_QUAD, MOST_RANGES, stepParams } from '../common/webgpu/step.wgsl.js';
import { ROW_STATE } from '../common/webgpu/step_softmax.wgsl.js';
import { type LocalLinearStep, statisticsLayout } from './step.wgsl.js';

const THREADS = 256;

/** Ranges of which a thread reads at a time. */
const AHEAD = 8;

/** Whether a system of that size fits in `bytes` of workgroup memory beside what else the shader keeps there. */
export function stepFactor(step: LocalLinearStep, bytes: number): Factor {
  const factor = { D: step.D, threads: THREADS, isLocal: true };
  return { ...factor, isLocal: factorBytes(factor) + otherBytes(step) <= bytes };
}

const otherBytes = (step: LocalLinearStep): number =>
  16 * statisticsLayout(step).rowQuads + 4 * THREADS + 20 * MOST_RANGES + 32;

/** Numbers of `work` that a row takes where its system does not fit. */
export const factorRegion = ({ D, isLocal }: Factor): number => (isLocal ? 0 : Math.ceil(factorFloats(D) / 4) * 4);

/**
 * Joins a row's ranges and solves: with means over all its keys `C = mean(z z^T) - zbar zbar^T`, `x = (C + ridge I)^-1 (q - kbar)`,
 * `o = vbar + (mean(v z^T) - vbar zbar^T) x`. One workgroup a row: `out [heads, t, Dv]`. Workgroups: rows, heads.
 */
export function stepSolveShader(step: LocalLinearStep, factor: Factor, hasRidge: boolean): Shader {
  const { D, Dv } = step;
  const { columnQuads, rowQuads, quads } = statisticsLayout(step);
  const valueQuads = rowQuads - columnQuads;
  const query = rowLoad('query', D, true);
  const out = rowStore('out', Dv);
  const barrier = factor.isLocal ? 'workgroupBarrier();' : 'storageBarrier(); workgroupBarrier();';
  return {
    key: `stepSolve ${JSON.stringify([step, factor.isLocal, hasRidge])}`,
    workgroupSize: THREADS,
    params: { ...stepParams, ranges: 'u32', nan: 'f32', ...(!hasRidge && { ridge: 'f32' as const }) },
    buffers: {
      statistics: { access: 'read', element: 'vec4f' },
      query: query.buffer,
      centre: { access: 'read', element: 'vec4f' },
      ...(hasRidge && { ridge: { access: 'read', element: 'f32' } as const }),
      out: out.buffer,
      ...(!factor.isLocal && { work: { access: 'read_write', element: 'f32' } as const }),
    },
    workgroupBytes: factorBytes(factor) + otherBytes(step),
    text: () => `
${IS_FINITE}
${IS_FINITE_QUAD}
${query.text}${out.text}
${declareFactor(factor)}
var<workgroup> means: array<vec4f, ${rowQuads}>;
var<workgroup> isBadRow: atomic<u32>;
var<workgroup> outcome: u32;
var<workgroup> parts: array<f32, ${THREADS}>;
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
  if (!isFiniteQuad(load_query(row, tid))) { atomicOr(&isBadRow, 1u); }
  let ridge = ${hasRidge ? 'ridge[row]' : 'params.ridge'};
  let base = (head * params.rows + workgroup.x) * params.ranges * ${quads}u;
  if (tid < params.ranges) { infos[tid] = statistics[base + tid * ${quads}u + ${quads - 1}u]; }
  workgroupBarrier();
  var m = -1e20;
  var mark = 0.0;
  for (var range = 0u; range < params.ranges; range++) {
    let info = infos[range];
    m = max(m, info.x);
    mark = max(mark, info.z);
  }
  var total = vec2f();
  for (var range = 0u; range < params.ranges; range++) {
    let info = infos[range];
    total.x += info.y * exp2(max(info.x - m, -200.0));
  }
  ${ROW_STATE}
  workgroupBarrier();
  let isBad = seesBad || (!isBlind && (atomicLoad(&isBadRow) != 0u || !isFinite(ridge) || ridge <= 0.0));
  if (tid == 0u) { outcome = select(select(0u, 1u, isBlind), 2u, isBad); }
  let state = workgroupUniformLoad(&outcome);
  if (state != 0u) {
    if (tid < ${valueQuads}u) { store_out(row, tid, vec4f(select(0.0, params.nan, state == 2u))); }
    return;
  }
  if (tid < params.ranges) { factors[tid] = exp2(max(infos[tid].x - m, -200.0)) / total.x; }
  workgroupBarrier();
  if (tid < ${rowQuads}u) { means[tid] = joined(base, ${4 * rowQuads * columnQuads}u + tid); }
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
    let right = load_query(row, tid) - centre[head * ${columnQuads}u + tid] - means[tid];
    for (var e = 0u; e < 4u && 4u * tid + e < ${D}u; e++) { setEntry(${D}u, 4u * tid + e, right[e]); }
  }
  ${barrier}
  ${solveFactor(factor, 'ridge')}
  // o - vbar: rows of the covariance of values and keys times the solution, 16 threads a row, each its quads of all ranges.
  for (var first = 0u; first < ${4 * valueQuads}u; first += ${THREADS / 16}u) {
    let d = first + tid / 16u;
    var sum = 0.0;
    if (d < ${4 * valueQuads}u) {
      let mean = means[${columnQuads}u + d / 4u][d % 4u];
      for (var c = tid % 16u; c < ${columnQuads}u; c += 16u) {
        let covariance = joined(base, (${4 * columnQuads}u + d) * ${columnQuads}u + c) - mean * means[c];
        sum += dot(covariance, vec4f(solution[4u * c], solution[4u * c + 1u], solution[4u * c + 2u], solution[4u * c + 3u]));
      }
    }
    parts[tid] = sum;
    workgroupBarrier();
    if (tid < ${THREADS / 64}u && first + 4u * tid < ${4 * valueQuads}u) {
      var result = means[${columnQuads}u + first / 4u + tid];
      for (var e = 0u; e < 4u; e++) {
        for (var other = 0u; other < 16u; other++) { result[e] += parts[(4u * tid + e) * 16u + other]; }
      }
      store_out(row, first / 4u + tid, result);
    }
    workgroupBarrier();
  }
}`,
  };
}
