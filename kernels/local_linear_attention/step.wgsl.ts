import { IS_FINITE } from '../common/webgpu/prepare.wgsl.js';
import { rowLoad } from '../common/webgpu/row_load.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import { HIDDEN_SCORE } from '../common/webgpu/softmax_weights.wgsl.js';
import { IS_FINITE_QUAD, IS_HIDDEN, keyState, SLOT, stepParams } from '../common/webgpu/step.wgsl.js';

/** Threads of a workgroup, as a grid over its block of the statistics, and keys of a turn with the threads of each. */
const THREADS = 128;
const [GRID_X, GRID_Y] = [8, 16];
export const TURN_KEYS = 16;
const LANES = THREADS / TURN_KEYS;

/** How far scores may rise above the maximum that weights are relative to before everything is scaled anew, in log2. */
const HEADROOM = '24.0';

const quadsOf = (width: number): number => Math.ceil(width / 4);

/** A step of local linear attention. */
export interface LocalLinearStep {
  readonly D: number;
  readonly Dv: number;
  readonly hasCachedBias: boolean;
}

/**
 * How the statistics of a row over a range of keys lie in their buffer, in quads: the matrix `sum_j w_j [z_j; v_j] z_j^T`,
 * a row of `columnQuads` for each channel of a key, then of a value (both padded to quads); `sum_j w_j [z_j; v_j]`; and a
 * quad of `m`, `sum_j w_j`, and `keys - j` of the first key that is not finite (0: none). `z_j = k_j - c`.
 */
export interface StatisticsLayout {
  readonly columnQuads: number;
  readonly rowQuads: number;
  readonly quads: number;
  /** Quads of a block's rows and columns, and the blocks that cover the matrix. */
  readonly blockRowQuads: number;
  readonly blockColumnQuads: number;
  readonly rowBlocks: number;
  readonly columnBlocks: number;
}

export function statisticsLayout({ D, Dv }: LocalLinearStep): StatisticsLayout {
  const columnQuads = quadsOf(D);
  const rowQuads = columnQuads + quadsOf(Dv);
  const blockRowQuads = rowQuads > GRID_Y ? 2 * GRID_Y : GRID_Y;
  const blockColumnQuads = columnQuads > GRID_X ? 2 * GRID_X : GRID_X;
  return {
    columnQuads,
    rowQuads,
    quads: 4 * rowQuads * columnQuads + rowQuads + 1,
    blockRowQuads,
    blockColumnQuads,
    rowBlocks: Math.ceil(rowQuads / blockRowQuads),
    columnBlocks: Math.ceil(columnQuads / blockColumnQuads),
  };
}

/**
 * The statistics of one row over one range of the cache's keys, `statistics [heads, rows, ranges, quads]`: one block of the matrix
 * a workgroup, for 64 channels the only one. A turn takes 16 keys: their scores, weights relative to a running maximum,
 * and an outer product, of which a thread has 8 x 8 numbers. The keys of the next turn are read meanwhile.
 *
 * Workgroups: ranges and blocks, heads, rows.
 */
export function statisticsShader(step: LocalLinearStep): Shader {
  const { D, Dv, hasCachedBias } = step;
  const layout = statisticsLayout(step);
  const { columnQuads, rowQuads, quads, blockRowQuads, blockColumnQuads, columnBlocks } = layout;
  const [keyQuads, valueQuads] = [columnQuads, quadsOf(Dv)].map((width) => Math.ceil(width / LANES));
  const [threadRows, threadColumns] = [blockRowQuads / GRID_Y, blockColumnQuads / GRID_X];
  const [cachedKey, cachedValue] = [rowLoad('cachedKey', D, true), rowLoad('cachedValue', Dv, true)];
  const query = rowLoad('query', D, true);
  const perKeyQuad = (text: (i: number, c: string) => string) =>
    unroll(keyQuads, (i) => text(i, `lane + ${LANES * i}u`));
  const perValueQuad = (text: (i: number, c: string) => string) =>
    unroll(valueQuads, (i) => text(i, `lane + ${LANES * i}u`));
  const perSum = (text: (sum: string, e: number, a: number, b: number) => string) =>
    unroll(threadRows, (a) => unroll(4, (e) => unroll(threadColumns, (b) => text(`sum${a}_${e}_${b}`, e, a, b), ' ')));
  /** Reads the keys of the turn that begins at `first`, minus the centre; zeros for those that do not count. */
  const loadTurn = (): string => `{
    let j = first + turnKey;
    ${keyState('', hasCachedBias)}
    ${perKeyQuad((i, c) => `k${i} = load_cachedKey(row, ${c});`)}
    ${perValueQuad((i, c) => `v${i} = load_cachedValue(row, ${c});`)}
    isBad = isBad || !(${[
      ...Array.from({ length: keyQuads }, (_, i) => `isFiniteQuad(k${i})`),
      ...Array.from({ length: valueQuads }, (_, i) => `isFiniteQuad(v${i})`),
    ].join(' && ')});
    if (isBad || !isSeen) {
      if (isSeen) { firstBad = min(firstBad, j); }
      ${perKeyQuad((i) => `k${i} = vec4f();`)}
      ${perValueQuad((i) => `v${i} = vec4f();`)}
    } else {
      ${perKeyQuad((i) => `k${i} -= centre${i};`)}
    }
    addend = select(${HIDDEN_SCORE}, term, isSeen && j < visible);
  }`;
  const stageRow = (name: string, i: number, at: string, end: number): string => `{
      let c = ${at}; if (c < ${end}u && c >= firstRowQuad && c < firstRowQuad + ${blockRowQuads}u) { rowChannels[turnKey][c - firstRowQuad] = ${name}${i}; } }`;
  const stageColumn = (i: number, c: string): string => `{
      let c = ${c}; if (c >= firstColumnQuad && c < firstColumnQuad + ${blockColumnQuads}u) { columnChannels[turnKey][c - firstColumnQuad] = w * k${i}; } }`;
  return {
    key: `statistics ${JSON.stringify(step)}`,
    workgroupSize: THREADS,
    params: { ...stepParams, perRange: 'u32', ranges: 'u32', logScale: 'f32' },
    buffers: {
      query: query.buffer,
      centre: { access: 'read', element: 'vec4f' },
      cachedKey: cachedKey.buffer,
      cachedValue: cachedValue.buffer,
      ...(hasCachedBias && { cachedBias: { access: 'read', element: 'f32' } as const }),
      statistics: { access: 'read_write', element: 'vec4f' },
    },
    // Channels of a turn's keys, parts of their scores, scores, weights, and a mark.
    workgroupBytes:
      16 * TURN_KEYS * (blockRowQuads + blockColumnQuads) + 4 * TURN_KEYS * (LANES + 1) + 8 * TURN_KEYS + 16,
    text: () => `
${IS_FINITE}
${IS_FINITE_QUAD}
${IS_HIDDEN}
${SLOT}
${query.text}${cachedKey.text}${cachedValue.text}
var<workgroup> rowChannels: array<array<vec4f, ${blockRowQuads}>, ${TURN_KEYS}>;
var<workgroup> columnChannels: array<array<vec4f, ${blockColumnQuads}>, ${TURN_KEYS}>;
var<workgroup> products: array<array<f32, ${LANES + 1}>, ${TURN_KEYS}>;
var<workgroup> scores: array<vec4f, ${TURN_KEYS / 4}>;
var<workgroup> weights: array<f32, ${TURN_KEYS}>;
var<workgroup> mark: atomic<u32>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let lane = tid % ${LANES}u;
  let turnKey = tid / ${LANES}u;
  let tx = tid % ${GRID_X}u;
  let ty = tid / ${GRID_X}u;
  let range = workgroup.x % params.ranges;
  let block = workgroup.x / params.ranges;
  let head = workgroup.y;
  let i = workgroup.z;
  let firstRowQuad = block / ${columnBlocks}u * ${blockRowQuads}u;
  let firstColumnQuad = block % ${columnBlocks}u * ${blockColumnQuads}u;
  let source = head * params.t + params.firstRow + i;
  let visible = params.keys + i + 1u - params.rows;
  ${perKeyQuad((q, c) => `let q${q} = load_query(source, ${c}) * params.logScale; var centre${q} = vec4f(); if (${c} < ${columnQuads}u) { centre${q} = centre[head * ${columnQuads}u + ${c}]; }`)}
  ${perSum((sum) => `var ${sum} = vec4f();`)}
  ${perKeyQuad((q) => `var k${q} = vec4f();`)}
  ${perValueQuad((q) => `var v${q} = vec4f();`)}
  ${perKeyQuad((q) => `var keySum${q} = vec4f();`)}
  ${perValueQuad((q) => `var valueSum${q} = vec4f();`)}
  var addend = 0.0;
  var m = -1e20;
  var l = 0.0;
  var firstBad = params.keys;
  let end = min(params.keys, (range + 1u) * params.perRange);
  let begin = range * params.perRange;
  { let first = begin; ${loadTurn()} }
  for (var turn = begin; turn < end; turn += ${TURN_KEYS}u) {
    products[turnKey][lane] = ${unroll(keyQuads, (q) => `dot(q${q}, k${q})`, ' + ')};
    ${perKeyQuad((q, c) => stageRow('k', q, c, columnQuads))}
    ${perValueQuad((q, c) => stageRow('v', q, `${columnQuads}u + ${c}`, rowQuads))}
    workgroupBarrier();
    if (lane == 0u) {
      var score = addend;
      ${unroll(LANES, (e) => `score += products[turnKey][${e}];`, ' ')}
      scores[turnKey / 4u][turnKey % 4u] = score;
    }
    workgroupBarrier();
    ${unroll(TURN_KEYS / 4, (s) => `let s${s} = scores[${s}];`, ' ')}
    let highest = ${Array.from({ length: TURN_KEYS / 4 }, (_, s) => `s${s}`).reduce((a, b) => `max(${a}, ${b})`)};
    let top = max(max(highest.x, highest.y), max(highest.z, highest.w));
    if (top > m + ${HEADROOM}) {
      let factor = exp2(max(m - top, -200.0));
      m = top;
      l *= factor;
      ${perKeyQuad((q) => `keySum${q} *= factor;`)}
      ${perValueQuad((q) => `valueSum${q} *= factor;`)}
      ${perSum((sum) => `${sum} *= factor;`)}
    }
    let w = exp2(min(scores[turnKey / 4u][turnKey % 4u] - m, 30.0));
    l += w;
    ${perKeyQuad((q) => `keySum${q} = fma(vec4f(w), k${q}, keySum${q});`)}
    ${perValueQuad((q) => `valueSum${q} = fma(vec4f(w), v${q}, valueSum${q});`)}
    ${perKeyQuad(stageColumn)}
    workgroupBarrier();
    // Behind the last turn nothing counts any more.
    { let first = turn + ${TURN_KEYS}u; ${loadTurn()} }
    for (var key = 0u; key < ${TURN_KEYS}u; key++) {
      ${unroll(threadColumns, (b) => `let column${b} = columnChannels[key][tx + ${GRID_X * b}u];`, ' ')}
      ${unroll(
        threadRows,
        (a) =>
          `{ let x = rowChannels[key][ty + ${GRID_Y * a}u]; ${unroll(4, (e) => unroll(threadColumns, (b) => `sum${a}_${e}_${b} = fma(vec4f(x[${e}]), column${b}, sum${a}_${e}_${b});`, ' '))} }`,
      )}
    }
    workgroupBarrier();
  }
  // A thread has summed the keys that it has read: those of all threads are added up at the end.
  ${perKeyQuad((q, c) => stageRow('keySum', q, c, columnQuads))}
  ${perValueQuad((q, c) => stageRow('valueSum', q, `${columnQuads}u + ${c}`, rowQuads))}
  if (lane == 0u) { weights[turnKey] = l; }
  if (firstBad < params.keys) { atomicMax(&mark, params.keys - firstBad); }
  workgroupBarrier();
  let base = ((head * params.rows + i) * params.ranges + range) * ${quads}u;
  ${perSum(
    (sum, e, a, b) => `{
    let r = firstRowQuad + ty + ${GRID_Y * a}u; let c = firstColumnQuad + tx + ${GRID_X * b}u;
    if (r < ${rowQuads}u && c < ${columnQuads}u) { statistics[base + (4u * r + ${e}u) * ${columnQuads}u + c] = ${sum}; } }`,
  )}
  if (firstColumnQuad == 0u && tid < ${blockRowQuads}u && firstRowQuad + tid < ${rowQuads}u) {
    var sum = vec4f();
    ${unroll(TURN_KEYS, (key) => `sum += rowChannels[${key}][tid];`, ' ')}
    statistics[base + ${4 * rowQuads * columnQuads}u + firstRowQuad + tid] = sum;
  }
  if (block == 0u && tid == 0u) {
    var sum = 0.0;
    ${unroll(TURN_KEYS, (key) => `sum += weights[${key}];`, ' ')}
    statistics[base + ${quads - 1}u] = vec4f(m, sum, f32(atomicLoad(&mark)), 0.0);
  }
}`,
  };
}
