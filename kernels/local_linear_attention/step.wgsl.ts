import { IS_FINITE } from '../common/webgpu/prepare.wgsl.js';
import { rowLoad } from '../common/webgpu/row_load.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import { HIDDEN_SCORE } from '../common/webgpu/softmax_weights.wgsl.js';
import { IS_FINITE_QUAD, IS_HIDDEN, keyState, SLOT, stepParams } from '../common/webgpu/step.wgsl.js';

const THREADS = 128;

/** Most groups of threads that share the keys of a turn: their sums are added up at the end of a range. */
const MOST_GROUPS = 16;

/** Bytes of workgroup memory for the channels of a turn's keys. */
const CHANNEL_BYTES = 8 * 1024;

/** How far scores may rise above the maximum that weights are relative to before everything is scaled anew, in log2. */
const HEADROOM = '24.0';

/** Quads of a thread's tile of the matrix: 8 x 8 numbers. */
const TILE_QUADS = 2;

const quadsOf = (width: number): number => Math.ceil(width / 4);

/** A step of local linear attention, as far as its keys are concerned. */
export interface KeyStep {
  readonly D: number;
  readonly hasCachedBias: boolean;
}

/**
 * How the statistics of a row over a range of keys lie in their buffer, in quads: the lower triangle of the matrix
 * `sum_j w_j z_j z_j^T`, with `columnQuads` quads for each of its D rows; `sum_j w_j z_j`; and a quad of `m` and
 * `sum_j w_j`, where `w_j = exp2(e_j - m)`. `z_j = k_j - c`.
 */
export function statisticsLayout({ D }: KeyStep): { readonly columnQuads: number; readonly quads: number } {
  const columnQuads = quadsOf(D);
  return { columnQuads, quads: D * columnQuads + columnQuads + 1 };
}

/** How the threads of a workgroup are put to work. */
interface Sizes {
  /** Tiles in a row of the matrix. Tile `(a, b)`, `a >= b`, has the quads `a` and `a + across` of rows, `b` and `b + across` of columns. */
  readonly across: number;
  /** Tiles of a workgroup, and workgroups that share the matrix. */
  readonly tiles: number;
  readonly blocks: number;
  /** Groups of threads: each has all of the workgroup's tiles, for its own keys of a turn. */
  readonly groups: number;
  readonly turnKeys: number;
  /** Threads that read a key together, and the quads that each of them reads. */
  readonly lanes: number;
  readonly laneQuads: number;
}

function sizesOf({ D }: KeyStep): Sizes {
  const across = Math.ceil(quadsOf(D) / TILE_QUADS);
  const all = (across * (across + 1)) / 2;
  const blocks = Math.ceil(all / THREADS);
  const tiles = Math.ceil(all / blocks);
  const lanes = 2 ** Math.ceil(Math.log2(across));
  const laneQuads = Math.ceil(quadsOf(D) / lanes);
  const most = Math.min(THREADS / lanes, Math.floor(CHANNEL_BYTES / (16 * TILE_QUADS * across)));
  const groups = Math.min(MOST_GROUPS, Math.floor(THREADS / tiles), most);
  return { across, tiles, blocks, groups, turnKeys: Math.floor(most / groups) * groups, lanes, laneQuads };
}

/** Workgroups that share a range of a row's keys. */
export const statisticsBlocks = (step: KeyStep): number => sizesOf(step).blocks;

/** Keys that a workgroup takes in one turn. */
export const statisticsKeys = (step: KeyStep): number => sizesOf(step).turnKeys;

/**
 * The statistics of one row over one range of the cache's keys, `statistics [heads, rows, ranges, quads]`. A turn takes some
 * keys: their scores, their weights relative to a running maximum, and the outer products of `sqrt(w_j) z_j` with itself, of
 * which only the lower triangle is made: a thread has 8 x 8 numbers of it, for the keys of its group. The keys of the
 * next turn are read meanwhile. What is not finite counts as zero: the pass over the values finds it.
 *
 * Workgroups: ranges and blocks of the matrix, heads, rows.
 */
export function statisticsShader(step: KeyStep): Shader {
  const { D, hasCachedBias } = step;
  const { columnQuads, quads } = statisticsLayout(step);
  const sizes = sizesOf(step);
  const { across, groups, turnKeys, lanes, laneQuads } = sizes;
  const stride = TILE_QUADS * across;
  const padding = 4 * Math.ceil(turnKeys / 4) - turnKeys;
  const [cachedKey, query] = [rowLoad('cachedKey', D, true), rowLoad('query', D, true)];
  const perQuad = (text: (i: number, c: string) => string) => unroll(laneQuads, (i) => text(i, `lane + ${lanes * i}u`));
  const centreOf = (q: number, c: string) =>
    `var centre${q} = vec4f(); if (${c} < ${columnQuads}u) { centre${q} = centre[head * ${columnQuads}u + ${c}]; }`;
  /** Reads the keys of the turn that begins at `first`, minus the centre; zeros for those that do not count. */
  const loadTurn = (first: string): string => `{
    let j = ${first} + turnKey;
    ${keyState('', hasCachedBias)}
    ${perQuad((i, c) => `k${i} = load_cachedKey(row, ${c});`)}
    isBad = isBad || !(${Array.from({ length: laneQuads }, (_, i) => `isFiniteQuad(k${i})`).join(' && ')});
    ${perQuad(centreOf)}
    let isUsed = isSeen && !isBad && j < visible && isReader;
    ${perQuad((i) => `k${i} = select(vec4f(), k${i} - centre${i}, isUsed);`)}
    addend = select(${HIDDEN_SCORE}, term, isUsed);
  }`;
  return {
    key: `statistics ${JSON.stringify(step)}`,
    workgroupSize: THREADS,
    params: { ...stepParams, perRange: 'u32', ranges: 'u32', logScale: 'f32' },
    buffers: {
      query: query.buffer,
      centre: { access: 'read', element: 'vec4f' },
      cachedKey: cachedKey.buffer,
      ...(hasCachedBias && { cachedBias: { access: 'read', element: 'f32' } as const }),
      statistics: { access: 'read_write', element: 'vec4f' },
    },
    // Channels of a turn's keys, parts of their scores, scores, and quads to add up.
    workgroupBytes: 16 * turnKeys * stride + 4 * turnKeys * (lanes + 1) + 16 * Math.ceil(turnKeys / 4) + 16 * THREADS,
    text: () => `
${IS_FINITE}
${IS_FINITE_QUAD}
${IS_HIDDEN}
${SLOT}
${query.text}${cachedKey.text}
var<workgroup> channels: array<array<vec4f, ${stride}>, ${turnKeys}>;
var<workgroup> products: array<array<f32, ${lanes + 1}>, ${turnKeys}>;
var<workgroup> scores: array<vec4f, ${Math.ceil(turnKeys / 4)}>;
var<workgroup> quads: array<vec4f, ${THREADS}>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let lane = tid % ${lanes}u;
  let turnKey = min(tid / ${lanes}u, ${turnKeys - 1}u);
  let isReader = tid < ${lanes * turnKeys}u;
  let range = workgroup.x % params.ranges;
  let head = workgroup.y;
  let i = workgroup.z;
  ${tileOfThread(sizes)}
  let source = head * params.t + params.firstRow + i;
  let visible = params.keys + i + 1u - params.rows;
  ${perQuad((q, c) => `let q${q} = load_query(source, ${c}) * params.logScale;`)}
  ${perSum((sum) => `var ${sum} = vec4f();`)}
  ${perQuad((q) => `var k${q} = vec4f(); var keySum${q} = vec4f();`)}
  ${padding > 0 ? `// Places behind the last key of a turn never count.\n  if (tid < ${padding}u) { scores[${Math.floor(turnKeys / 4)}][${turnKeys % 4}u + tid] = ${HIDDEN_SCORE}; }` : ''}
  var addend = 0.0;
  var m = -1e20;
  var l = 0.0;
  let end = min(params.keys, (range + 1u) * params.perRange);
  let begin = range * params.perRange;
  ${loadTurn('begin')}
  for (var turn = begin; turn < end; turn += ${turnKeys}u) {
    if (isReader) { products[turnKey][lane] = ${unroll(laneQuads, (q) => `dot(q${q}, k${q})`, ' + ')}; }
    workgroupBarrier();
    if (isReader && lane == 0u) {
      var score = addend;
      ${unroll(lanes, (e) => `score += products[turnKey][${e}];`, ' ')}
      scores[turnKey / 4u][turnKey % 4u] = score;
    }
    workgroupBarrier();
    var highest = scores[0];
    ${unroll(Math.ceil(turnKeys / 4) - 1, (s) => `highest = max(highest, scores[${s + 1}]);`, ' ')}
    let top = max(max(highest.x, highest.y), max(highest.z, highest.w));
    if (top > m + ${HEADROOM}) {
      let factor = exp2(max(m - top, -200.0));
      m = top;
      l *= factor;
      ${perQuad((q) => `keySum${q} *= factor;`)}
      ${perSum((sum) => `${sum} *= factor;`)}
    }
    let root = exp2(0.5 * min(scores[turnKey / 4u][turnKey % 4u] - m, 30.0));
    if (isReader) {
      l = fma(root, root, l);
      ${perQuad((q, c) => `{ let z = root * k${q}; keySum${q} = fma(vec4f(root), z, keySum${q}); if (${c} < ${stride}u) { channels[turnKey][${c}] = z; } }`)}
    }
    workgroupBarrier();
    // Behind the last turn nothing counts any more.
    ${loadTurn(`turn + ${turnKeys}u`)}
    if (isSummer) {
      ${unroll(
        turnKeys / groups,
        (s) => `{
        ${unroll(TILE_QUADS, (b) => `let y${b} = channels[group + ${groups * s}u][b + ${across * b}u];`, ' ')}
        ${unroll(
          TILE_QUADS,
          (a) =>
            `{ let x = channels[group + ${groups * s}u][a + ${across * a}u]; ${unroll(TILE_QUADS, (b) => unroll(4, (e) => `sum${a}_${b}_${e} = fma(vec4f(x[${e}]), y${b}, sum${a}_${b}_${e});`, ' '), ' ')} }`,
        )}
      }`,
      )}
    }
  }
  let base = ((head * params.rows + i) * params.ranges + range) * ${quads}u;
  ${sumGroups(step, sizes)}
  ${sumReaders(step, sizes)}
}`,
  };
}

const perTile = (text: (a: number, b: number) => string): string =>
  unroll(TILE_QUADS, (a) => unroll(TILE_QUADS, (b) => text(a, b)));

const perSum = (text: (sum: string) => string): string =>
  perTile((a, b) => unroll(4, (e) => text(`sum${a}_${b}_${e}`), ' '));

/** Declares `group`, `isSummer` and the tile `a`, `b` of a thread. */
const tileOfThread = ({ across, tiles, blocks, groups }: Sizes): string => `
  let group = tid / ${tiles}u;
  var tile = ${blocks > 1 ? `workgroup.x / params.ranges * ${tiles}u + ` : ''}tid % ${tiles}u;
  let isSummer = group < ${groups}u && tile < ${(across * (across + 1)) / 2}u;
  // Row a of the triangle has a + 1 tiles.
  var a = 0u;
  for (; a < ${across - 1}u && tile > a; a++) { tile -= a + 1u; }
  let b = min(tile, a);`;

/** Adds up the groups' tiles, of which each quad pair is written where it lies in the lower triangle. */
function sumGroups({ D }: KeyStep, { across, tiles, groups }: Sizes): string {
  const columnQuads = quadsOf(D);
  const add = (sum: string): string => `
  workgroupBarrier();
  quads[tid] = ${sum};
  workgroupBarrier();
  if (tid < ${tiles}u) { ${unroll(groups - 1, (g) => `${sum} += quads[tid + ${tiles * (g + 1)}u];`, ' ')} }`;
  const write = (a: number, b: number): string => `{
      let r = a + ${across * a}u;
      let c = b + ${across * b}u;
      if (r >= c && r < ${columnQuads}u) {
        ${unroll(4, (e) => `if (4u * r + ${e}u < ${D}u) { statistics[base + (4u * r + ${e}u) * ${columnQuads}u + c] = sum${a}_${b}_${e}; }`)}
      } else if (r < c && c < ${columnQuads}u) {
        ${unroll(4, (e) => `if (4u * c + ${e}u < ${D}u) { statistics[base + (4u * c + ${e}u) * ${columnQuads}u + r] = vec4f(${unroll(4, (f) => `sum${a}_${b}_${f}[${e}]`, ', ')}); }`)}
      }
    }`;
  return `${groups > 1 ? perSum(add) : ''}
  if (isSummer && group == 0u) { ${perTile(write)} }`;
}

/** Adds up what the readers of a range's keys have summed: weights, and weighted keys. */
function sumReaders(step: KeyStep, { turnKeys, lanes, laneQuads }: Sizes): string {
  const { columnQuads, quads } = statisticsLayout(step);
  const sum = (q: number): string => `
  workgroupBarrier();
  quads[tid] = keySum${q};
  workgroupBarrier();
  if (isFirst && tid < ${lanes}u && tid + ${lanes * q}u < ${columnQuads}u) {
    var total = vec4f();
    for (var key = 0u; key < ${turnKeys}u; key++) { total += quads[key * ${lanes}u + tid]; }
    statistics[base + ${quads - 1 - columnQuads}u + ${lanes * q}u + tid] = total;
  }`;
  return `
  let isFirst = workgroup.x < params.ranges;
  if (isReader && lane == 0u) { scores[turnKey / 4u][turnKey % 4u] = l; }
  ${unroll(laneQuads, sum)}
  if (isFirst && tid == 0u) {
    var total = 0.0;
    for (var key = 0u; key < ${turnKeys}u; key++) { total += scores[key / 4u][key % 4u]; }
    statistics[base + ${quads - 1}u] = vec4f(m, total, 0.0, 0.0);
  }`;
}
