import { IS_FINITE } from './prepare.wgsl.js';
import { rowLoad } from './row_load.js';
import { rowStore } from './row_store.js';
import { type Shader, unroll } from './shader.js';
import { HIDDEN_SCORE } from './softmax_weights.wgsl.js';
import { IS_FINITE_QUAD, IS_HIDDEN, keyState, MOST_RANGES, SLOT, stepParams } from './step.wgsl.js';

const THREADS = 256;

/** Numbers that a thread holds of the keys and of the values of a turn, in quads, and products of rows and keys. */
const MOST_QUADS = 8;
const MOST_PRODUCTS = 8;

/** Ranges that are read at a time where they are joined. */
const AHEAD = 8;

/** Bytes of workgroup memory for the parts of products. */
const MOST_PART_BYTES = 9 * 1024;

const quadsOf = (width: number): number => Math.ceil(width / 4);

/** A step of softmax attention or, with a probe, of Parallax. */
export interface SoftmaxStep {
  readonly D: number;
  readonly Dv: number;
  readonly hasCachedBias: boolean;
  readonly hasProbe: boolean;
  /** Query rows that a workgroup handles together. */
  readonly rows: number;
}

interface Sizes {
  /** Threads that share a key, the quads of a key and a value that each of them has, and the keys side by side. */
  readonly lanes: number;
  readonly keyQuads: number;
  readonly valueQuads: number;
  readonly groups: number;
  /** Keys of a thread in one turn. */
  readonly steps: number;
}

function sizesOf({ D, Dv, rows, hasProbe }: SoftmaxStep): Sizes {
  const widest = Math.max(quadsOf(D), quadsOf(Dv));
  const lanes = Math.min(16, 2 ** Math.ceil(Math.log2(widest)));
  const [keyQuads, valueQuads] = [D, Dv].map((width) => Math.ceil(quadsOf(width) / lanes));
  const groups = THREADS / lanes;
  const products = rows * (hasProbe ? 2 : 1);
  const steps = Math.min(
    Math.floor(MOST_QUADS / Math.max(keyQuads, valueQuads)),
    Math.floor(MOST_PRODUCTS / products),
    Math.floor(MOST_PART_BYTES / (4 * groups * (lanes + 1) * products)),
  );
  return { lanes, keyQuads, valueQuads, groups, steps: Math.max(1, steps) };
}

/** Keys that a workgroup takes in one turn. */
export function softmaxStepKeys(step: SoftmaxStep): number {
  const { groups, steps } = sizesOf(step);
  return groups * steps;
}

/** Quads of a row's part of a range: sums of values (for Parallax twice), and maximum, sum, product and mark. */
export const softmaxPartQuads = ({ Dv, hasProbe }: SoftmaxStep): number => quadsOf(Dv) * (hasProbe ? 2 : 1) + 1;

/**
 * Softmax attention of some rows over one range of the cache's keys: `parts [heads, rows, ranges, quads]`, `sum_j w_j v_j`
 * with `w_j = exp(e_j - m)`, for Parallax also `sum_j w_j (r.(k_j - c)) v_j`, and then `m`, `sum_j w_j`, for Parallax
 * `sum_j w_j r.(k_j - c)`, and `keys - j` of the first key that is not finite (0: none).
 *
 * A key is read by the threads of a group, a quad or more each: neighbours read next to each other. Every group has a
 * running maximum of its own. Workgroups: ranges, heads, blocks of rows.
 */
export function softmaxPartsShader(step: SoftmaxStep): Shader {
  const { D, Dv, hasCachedBias, hasProbe, rows } = step;
  const { lanes, keyQuads, valueQuads, groups, steps } = sizesOf(step);
  const [cachedKey, cachedValue] = [rowLoad('cachedKey', D, true), rowLoad('cachedValue', Dv, true)];
  const [query, probe] = [rowLoad('query', D, true), rowLoad('probe', D, true)];
  const kinds = hasProbe ? ['q', 'r'] : ['q'];
  const sums = hasProbe ? ['acc', 'tilt'] : ['acc'];
  const products = kinds.length * rows;
  const perRow = (text: (r: number) => string) => unroll(rows, text);
  const perStep = (text: (s: number) => string) => unroll(steps, text);
  const place = (kind: number, r: number, s: number): string => `${((kind * rows + r) * steps + s) * groups}u + group`;
  const partQuads = softmaxPartQuads(step);
  const dot = (kind: number, r: number, s: number): string => {
    const key = (i: number) => (kind === 1 ? `k${s}_${i} - centre${i}` : `k${s}_${i}`);
    return `products[(${place(kind, r, s)}) * ${lanes + 1}u + lane] = ${unroll(keyQuads, (i) => `dot(${kinds[kind]}${r}_${i}, ${key(i)})`, ' + ')};`;
  };
  const loadKey = (s: number): string => `
    let j${s} = first + group + ${groups * s}u;
    ${keyState(s, hasCachedBias)}
    ${unroll(keyQuads, (i) => `var k${s}_${i} = load_cachedKey(row${s}, lane + ${lanes * i}u);`, ' ')}
    ${unroll(valueQuads, (i) => `var v${s}_${i} = load_cachedValue(row${s}, lane + ${lanes * i}u);`, ' ')}`;
  const checkKey = (s: number): string => `
    isBad${s} = isBad${s} || !(${[
      ...Array.from({ length: keyQuads }, (_, i) => `isFiniteQuad(k${s}_${i})`),
      ...Array.from({ length: valueQuads }, (_, i) => `isFiniteQuad(v${s}_${i})`),
    ].join(' && ')});
    if (isBad${s} || !isSeen${s}) {
      if (isSeen${s}) { firstBad = min(firstBad, j${s}); }
      ${unroll(keyQuads, (i) => `k${s}_${i} = vec4f();`, ' ')} ${unroll(valueQuads, (i) => `v${s}_${i} = vec4f();`, ' ')}
    }`;
  const weigh = (r: number): string => `{
      let visible = params.keys + firstRow + ${r + 1}u - params.rows;
      ${perStep(
        (s) =>
          `let e${s} = select(${HIDDEN_SCORE}, scores[${place(0, r, s)}] + term${s}, isSeen${s} && j${s} < visible);`,
      )}
      var raised = m${r};
      ${perStep((s) => `raised = max(raised, e${s});`)}
      let factor = exp2(max(m${r} - raised, -200.0));
      m${r} = raised;
      l${r} *= factor;
      ${hasProbe ? `g${r} *= factor;` : ''}
      ${sums.map((sum) => unroll(valueQuads, (i) => `${sum}${r}_${i} *= factor;`, ' ')).join(' ')}
      ${perStep(
        (s) => `{ let p = exp2(e${s} - raised); l${r} += p;
        ${unroll(valueQuads, (i) => `acc${r}_${i} = fma(vec4f(p), v${s}_${i}, acc${r}_${i});`, ' ')}
        ${hasProbe ? `let pg = p * scores[${place(1, r, s)}]; g${r} += pg; ${unroll(valueQuads, (i) => `tilt${r}_${i} = fma(vec4f(pg), v${s}_${i}, tilt${r}_${i});`, ' ')}` : ''} }`,
      )}
    }`;
  const combine = (r: number): string => `{
    top[group] = m${r};
    workgroupBarrier();
    var m = -1e20;
    for (var other = 0u; other < ${groups}u; other++) { m = max(m, top[other]); }
    let factor = exp2(max(m${r} - m, -200.0));
    if (lane == 0u) { numbers[group] = vec2f(l${r}, ${hasProbe ? `g${r}` : '0.0'}) * factor; }
    let at = ((head * params.rows + firstRow + ${r}u) * params.ranges + workgroup.x) * ${partQuads}u;
    let isInside = firstRow + ${r}u < params.rows;
    ${sums
      .map((sum, which) =>
        unroll(
          valueQuads,
          (i) => `
    quads[tid] = ${sum}${r}_${i} * factor;
    workgroupBarrier();
    if (tid < ${lanes}u && tid + ${lanes * i}u < ${quadsOf(Dv)}u && isInside) {
      var total = vec4f();
      for (var other = 0u; other < ${groups}u; other++) { total += quads[other * ${lanes}u + tid]; }
      parts[at + ${which * quadsOf(Dv)}u + ${lanes * i}u + tid] = total;
    }
    workgroupBarrier();`,
        ),
      )
      .join('')}
    if (tid == 0u && isInside) {
      var total = vec2f();
      for (var other = 0u; other < ${groups}u; other++) { total += numbers[other]; }
      parts[at + ${partQuads - 1}u] = vec4f(m, total, f32(atomicLoad(&mark)));
    }
    workgroupBarrier();
  }`;
  return {
    key: `softmaxParts ${JSON.stringify(step)}`,
    workgroupSize: THREADS,
    params: { ...stepParams, perRange: 'u32', ranges: 'u32', logScale: 'f32' },
    buffers: {
      query: query.buffer,
      ...(hasProbe && { probe: probe.buffer, centre: { access: 'read', element: 'vec4f' } as const }),
      cachedKey: cachedKey.buffer,
      cachedValue: cachedValue.buffer,
      ...(hasCachedBias && { cachedBias: { access: 'read', element: 'f32' } as const }),
      parts: { access: 'read_write', element: 'vec4f' },
    },
    // Parts of products, their sums, quads to add up, and a group's numbers.
    workgroupBytes: 4 * groups * steps * products * (lanes + 2) + 16 * THREADS + 12 * groups + 16,
    text: () => `
${IS_FINITE}
${IS_FINITE_QUAD}
${IS_HIDDEN}
${SLOT}
${query.text}${cachedKey.text}${cachedValue.text}${hasProbe ? probe.text : ''}
var<workgroup> products: array<f32, ${groups * steps * products * (lanes + 1)}>;
var<workgroup> scores: array<f32, ${groups * steps * products}>;
var<workgroup> quads: array<vec4f, ${THREADS}>;
var<workgroup> numbers: array<vec2f, ${groups}>;
var<workgroup> top: array<f32, ${groups}>;
var<workgroup> mark: atomic<u32>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let lane = tid % ${lanes}u;
  let group = tid / ${lanes}u;
  let head = workgroup.y;
  let firstRow = workgroup.z * ${rows}u;
  ${perRow((r) => `let source${r} = head * params.t + params.firstRow + min(firstRow + ${r}u, params.rows - 1u);`)}
  ${perRow((r) => unroll(keyQuads, (i) => `let q${r}_${i} = load_query(source${r}, lane + ${lanes * i}u) * params.logScale;`))}
  ${
    hasProbe
      ? `${perRow((r) => unroll(keyQuads, (i) => `let r${r}_${i} = load_probe(source${r}, lane + ${lanes * i}u);`))}
  ${unroll(keyQuads, (i) => `var centre${i} = vec4f(); if (lane + ${lanes * i}u < ${quadsOf(D)}u) { centre${i} = centre[head * ${quadsOf(D)}u + lane + ${lanes * i}u]; }`)}`
      : ''
  }
  ${perRow((r) => `var m${r} = -1e20; var l${r} = 0.0; ${hasProbe ? `var g${r} = 0.0;` : ''} ${sums.map((sum) => unroll(valueQuads, (i) => `var ${sum}${r}_${i} = vec4f();`, ' ')).join(' ')}`)}
  var firstBad = params.keys;
  let end = min(params.keys, (workgroup.x + 1u) * params.perRange);
  for (var first = workgroup.x * params.perRange; first < end; first += ${groups * steps}u) {
    ${perStep(loadKey)}
    ${perStep(checkKey)}
    ${kinds.map((_, kind) => perRow((r) => perStep((s) => dot(kind, r, s)))).join('\n')}
    workgroupBarrier();
    for (var at = tid; at < ${groups * steps * products}u; at += ${THREADS}u) {
      var sum = 0.0;
      ${unroll(lanes, (e) => `sum += products[at * ${lanes + 1}u + ${e}u];`, ' ')}
      scores[at] = sum;
    }
    workgroupBarrier();
    ${perRow(weigh)}
  }
  if (firstBad < params.keys) { atomicMax(&mark, params.keys - firstBad); }
  ${perRow(combine)}
}`,
  };
}

/** Joins the ranges of every row: `out [heads, t, Dv]`. Workgroups: rows, heads. */
export function softmaxMergeShader(step: SoftmaxStep): Shader {
  const { D, Dv, hasProbe } = step;
  const partQuads = softmaxPartQuads(step);
  const [query, probe] = [rowLoad('query', D, true), rowLoad('probe', D, true)];
  const out = rowStore('out', Dv);
  return {
    key: `softmaxMerge ${JSON.stringify([D, Dv, hasProbe])}`,
    workgroupSize: 64,
    params: { ...stepParams, ranges: 'u32', nan: 'f32' },
    buffers: {
      parts: { access: 'read', element: 'vec4f' },
      query: query.buffer,
      ...(hasProbe && { probe: probe.buffer }),
      out: out.buffer,
    },
    workgroupBytes: 16 + 16 * MOST_RANGES,
    text: () => `
${IS_FINITE_QUAD}
${query.text}${hasProbe ? probe.text : ''}${out.text}
var<workgroup> isBadRow: atomic<u32>;
var<workgroup> infos: array<vec4f, ${MOST_RANGES}>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let head = workgroup.y;
  let row = head * params.t + params.firstRow + workgroup.x;
  if (!(isFiniteQuad(load_query(row, tid))${hasProbe ? ' && isFiniteQuad(load_probe(row, tid))' : ''})) { atomicOr(&isBadRow, 1u); }
  workgroupBarrier();
  let base = (head * params.rows + workgroup.x) * params.ranges * ${partQuads}u;
  for (var range = tid; range < params.ranges; range += 64u) { infos[range] = parts[base + range * ${partQuads}u + ${partQuads - 1}u]; }
  workgroupBarrier();
  var m = -1e20;
  var mark = 0.0;
  for (var range = 0u; range < params.ranges; range++) {
    m = max(m, infos[range].x);
    mark = max(mark, infos[range].w);
  }
  var total = vec2f();
  var sum = vec4f();
  ${hasProbe ? 'var tilt = vec4f();' : ''}
  // Several ranges at a time, so that their reads overlap; those behind the last one count as nothing.
  for (var range = 0u; range < params.ranges; range += ${AHEAD}u) {
    ${unroll(AHEAD, (e) => `let range${e} = min(range + ${e}u, params.ranges - 1u); let at${e} = base + range${e} * ${partQuads}u + min(tid, ${quadsOf(Dv) - 1}u);`)}
    ${unroll(AHEAD, (e) => `let sum${e} = parts[at${e}]; ${hasProbe ? `let tilt${e} = parts[at${e} + ${quadsOf(Dv)}u];` : ''}`)}
    ${unroll(AHEAD, (e) => `{ let factor = select(0.0, exp2(max(infos[range${e}].x - m, -200.0)), range + ${e}u < params.ranges); total += infos[range${e}].yz * factor; sum += sum${e} * factor; ${hasProbe ? `tilt += tilt${e} * factor;` : ''} }`)}
  }
  ${ROW_STATE}
  var result = sum / max(total.x, 1e-37);
  ${hasProbe ? 'result = fma(result, vec4f(1.0 + total.y / max(total.x, 1e-37)), -tilt / max(total.x, 1e-37));' : ''}
  if (isBlind) { result = vec4f(); }
  if (seesBad || (!isBlind && atomicLoad(&isBadRow) != 0u)) { result = vec4f(params.nan); }
  if (tid < ${quadsOf(Dv)}u) { store_out(row, tid, result); }
}`,
  };
}

/** `seesBad` and `isBlind` of row `workgroup.x`, from the sum of its weights and the mark of the first bad key. */
const ROW_STATE = `
  let visible = params.keys + workgroup.x + 1u - params.rows;
  let seesBad = mark > 0.0 && params.keys - u32(mark) < visible;
  let isBlind = !seesBad && total.x == 0.0;`;
