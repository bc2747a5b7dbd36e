import { unroll } from './shader.js';
import { blockColumnsOf, groupsOf, perRow, quadOf, reduceRows, threadsOf, type Tile } from './tile.wgsl.js';

/**
 * A score that no key of weight can have, given to keys that a row does not see. The running maximum starts far above
 * it and far below every score, so that such a key has weight zero also while a row has seen no other.
 */
export const HIDDEN_SCORE = '-1e30';
const LOWEST_MAXIMUM = '-1e20';

/** How far scores may rise above the maximum that weights are relative to before everything is scaled anew: 2^24 of 2^127. */
const HEADROOM = '24.0';

/** Turns products `name` of queries and keys into scores in units of log2: scale, bias, masks. */
export function finishScores(tile: Tile, name: string, hasKeyTerms: boolean): string {
  const columns = blockColumnsOf(tile);
  const terms = `let term = keyTerms[(head * params.Tkp + t * ${columns}u) / 4u + tx];`;
  const part = ['term.x', 'term.y', 'term.z', 'term.w'];
  const scaled = (i: number, j: number): string =>
    hasKeyTerms
      ? `${name}${i}_${j} = fma(${name}${i}_${j}, params.logScale, ${part[j]});`
      : `${name}${i}_${j} *= params.logScale;`;
  const masked = (i: number, j: number): string =>
    `${name}${i}_${j} = select(${HIDDEN_SCORE}, ${name}${i}_${j}, t * ${columns}u + 4u * tx + ${j}u < bound${i});`;
  return `
  ${hasKeyTerms ? terms : ''}
  ${perRow(tile, (i) => unroll(4, (j) => scaled(i, j), ' '))}
  if ((t + 1u) * ${columns}u > firstBound) {
    ${perRow(tile, (i) => unroll(4, (j) => masked(i, j), ' '))}
  }`;
}

/** The bounds of a thread's rows, the first row's, and the number of tiles of keys that the tile's rows see. */
export function declareBounds(tile: Tile, firstRow: string): string {
  const { threadsY, rows } = tile;
  const columns = blockColumnsOf(tile);
  return `
  ${perRow(tile, (i) => `let bound${i} = bound(${firstRow} + ty + ${threadsY * i}u);`, ' ')}
  let firstBound = bound(${firstRow});
  let keyTiles = (bound(min(${firstRow} + ${threadsY * rows - 1}u, params.Tq - 1u)) + ${columns - 1}u) / ${columns}u;`;
}

/** Running maximum `m{i}` and sum `l{i}` of a thread's rows; the sum is the thread's own part until it is reduced. */
export const declareSoftmax = (tile: Tile): string =>
  perRow(tile, (i) => `var m${i} = ${LOWEST_MAXIMUM}; var l${i} = 0.0;`, ' ');

/** Where the weights of a tile's rows over all keys are kept: the thread's own quads, next to those of its neighbours. */
export interface KeptWeights {
  readonly buffer: string;
  /** Expression: index of the first quad. */
  readonly base: string;
}

export function keptQuad(tile: Tile, { buffer, base }: KeptWeights, i: number, t = 't'): string {
  return `${buffer}[${base} + (${t} * ${tile.rows}u + ${i}u) * ${threadsOf(tile)}u + tid]`;
}

/**
 * Unnormalised weights `p{i}` of a thread's rows over the columns of tile `t`, a quad each, from scores `s`.
 *
 * They are relative to a maximum that may be stale: only where a score rises above it by more than the head-room, which
 * hardly happens after the first tile, are the maximum raised and all that was summed (`accumulators`, `sums`, kept
 * weights) scaled. Whether it does is agreed on by the whole workgroup.
 */
export function onlineSoftmax(
  tile: Tile,
  accumulators: readonly { readonly name: string; readonly width: number }[],
  sums: readonly string[],
  kept?: KeptWeights,
): string {
  const top = (i: number): string => `max(max(s${i}_0, s${i}_1), max(s${i}_2, s${i}_3))`;
  const rescale = (i: number): string => `{
      let raised = max(top${i}, m${i});
      let factor = exp2(max(m${i} - raised, -200.0));
      m${i} = raised;
      l${i} *= factor;
      ${sums.map((name) => `${name}${i} *= factor;`).join(' ')}
      ${accumulators.map(({ name, width }) => unroll(groupsOf(tile, width), (g) => `${name}${i}_${g} *= factor;`, ' ')).join('\n')}
      p${i} = exp2(${quadOf('s', i)} - m${i});
      ${kept ? `for (var earlier = 0u; earlier < t; earlier++) { ${keptQuad(tile, kept, i, 'earlier')} *= factor; }` : ''}
    }`;
  return `
  var isOver = false;
  ${perRow(tile, (i) => `var top${i} = ${top(i)}; isOver = isOver || top${i} > m${i} + ${HEADROOM};`)}
  ${perRow(tile, (i) => `var p${i} = exp2(min(${quadOf('s', i)} - m${i}, vec4f(30.0)));`)}
  if (isOver) { flag.x = 1u; }
  if (workgroupUniformLoad(&flag).x != 0u) {
    ${reduceRows(tile, ['top'], 'max')}
    if (tid == 0u) { flag.x = 0u; }
    ${perRow(tile, rescale)}
  }
  ${perRow(tile, (i) => `l${i} += p${i}.x + p${i}.y + p${i}.z + p${i}.w;`, ' ')}`;
}
