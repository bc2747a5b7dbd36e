import { unroll } from './shader.js';
import {
  blockColumnsOf,
  blockRowsOf,
  type Columns,
  perQuad,
  perRow,
  quadOf,
  reduceRows,
  scaleAccumulator,
  stageAhead,
  storeWeights,
  sumOfQuads,
  threadsOf,
  type Tile,
} from './tile.wgsl.js';

/**
 * A score that no key of weight can have, given to keys that a row does not see. The running maximum starts far above
 * it and far below every score, so that such a key has weight zero also while a row has seen no other.
 */
export const HIDDEN_SCORE = '-1e30';
export const LOWEST_MAXIMUM = '-1e20';

/**
 * The range of weights, as powers of two: where the largest stands after scaling, and up to where others may rise above it
 * before everything is scaled anew. In float32, 2^24 of 2^127; half precision has 2^-14 to 2^15, and most weights are small.
 */
const rangeOf = ({ matrices }: Tile): { lift: string; headroom: string } =>
  matrices ? { lift: '8.0', headroom: '14.0' } : { lift: '0.0', headroom: '24.0' };

/** Turns products `name` of queries and keys into scores in units of log2: scale, unless queries have it, bias, masks. */
export function finishScores(tile: Tile, name: string, hasKeyTerms: boolean, isScaled = false): string {
  const columns = blockColumnsOf(tile);
  const term = (q: number): string =>
    `let term${q} = keyTerms[(head * params.Tkp + t * ${columns}u) / 4u + tx + ${tile.threadsX * q}u];`;
  const each = (text: (i: number, j: number, q: number) => string): string =>
    perQuad(tile, (i, q) => unroll(4, (e) => text(i, 4 * q + e, q), ' '));
  const scaled = (i: number, j: number, q: number): string =>
    hasKeyTerms
      ? `${name}${i}_${j} = fma(${name}${i}_${j}, params.logScale, term${q}[${j % 4}]);`
      : `${name}${i}_${j} *= params.logScale;`;
  const masked = (i: number, j: number, q: number): string =>
    `${name}${i}_${j} = select(${HIDDEN_SCORE}, ${name}${i}_${j}, t * ${columns}u + 4u * (tx + ${tile.threadsX * q}u) + ${j % 4}u < bound${i});`;
  return `
  ${hasKeyTerms ? unroll(tile.quads, term) : ''}
  ${isScaled ? '' : each(scaled)}
  if ((t + 1u) * ${columns}u > firstBound) {
    ${each(masked)}
  }`;
}

/** The bounds of a thread's rows, the first row's, and the number of tiles of keys that the tile's rows see. */
export function declareBounds(tile: Tile, firstRow: string): string {
  const { threadsY } = tile;
  const columns = blockColumnsOf(tile);
  return `
  ${perRow(tile, (i) => `let bound${i} = bound(${firstRow} + ty + ${threadsY * i}u);`, ' ')}
  let firstBound = bound(${firstRow});
  let keyTiles = (bound(min(${firstRow} + ${blockRowsOf(tile) - 1}u, params.Tq - 1u)) + ${columns - 1}u) / ${columns}u;`;
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

/** Kept quads that share an element of the buffer: two of half-precision numbers. */
export const keptPacking = ({ matrices }: Tile): number => (matrices ? 2 : 1);

/** Expression: where the kept weights of row `i` and quad `q` of a thread's columns in tile `t` lie. */
export function keptPlace(tile: Tile, { buffer, base }: KeptWeights, i: number, q: number, t: string): string {
  const perTile = (tile.rows * tile.quads) / keptPacking(tile);
  const own = (i * tile.quads + q) / keptPacking(tile);
  return `${buffer}[${base} + (${t} * ${perTile}u + ${Math.floor(own)}u) * ${threadsOf(tile)}u + tid]`;
}

export const keptHalf = (q: number): string => (q % 2 === 0 ? 'xy' : 'zw');

/** Expression: the kept weights of row `i` and quad `q` of a thread's columns in tile `t`. */
export function keptQuad(tile: Tile, kept: KeptWeights, i: number, q: number, t = 't'): string {
  const place = keptPlace(tile, kept, i, q, t);
  return tile.matrices ? `unpackHalves(${place}.${keptHalf(q)})` : place;
}

/** Keeps weights `value(i, q)` of a thread's rows in tile `t`. */
function keep(tile: Tile, kept: KeptWeights, value: (i: number, q: number) => string, t = 't'): string {
  const pair = (i: number, q: number): string =>
    `${keptPlace(tile, kept, i, q, t)} = vec4u(packHalves(${value(i, q)}), packHalves(${value(i, q + 1)}));`;
  return perQuad(tile, (i, q) => {
    if (!tile.matrices) return `${keptPlace(tile, kept, i, q, t)} = ${value(i, q)};`;
    return q % 2 === 0 ? pair(i, q) : '';
  });
}

/** Numbers as matrices take them: those of half precision. What else is computed of them must be so of the rounded ones. */
export const asOperand = ({ matrices }: Tile, value: string): string => (matrices ? `half(${value})` : value);

/** The most that a thread's scores of row `i` come to. */
function topOf(tile: Tile, i: number): string {
  const most = (first: number, count: number): string =>
    count === 1 ? `s${i}_${first}` : `max(${most(first, count / 2)}, ${most(first + count / 2, count / 2)})`;
  return most(0, 4 * tile.quads);
}

/**
 * Unnormalised weights `p{i}_{q}` of a thread's rows over the columns of tile `t`, a quad each, from scores `s`.
 *
 * They are relative to a maximum that may be stale: only where a score rises above it by more than the head-room, which
 * hardly happens after the first tile, are the maximum raised and all that was summed (`accumulators`, `sums`, kept
 * weights) scaled. Whether it does is agreed on by the whole workgroup. For matrices maxima are whole numbers, so that kept
 * weights are scaled by powers of two, without a rounding that the sums do not have.
 *
 * The weights are stored for `accumulate` with `next`, its columns staged meanwhile: the barrier on which the workgroup
 * agrees stands for the one that these need.
 *
 * `also`: what else is made of the weights before they are agreed on, and made again where they are scaled anew.
 */
export function onlineSoftmax(
  tile: Tile,
  accumulators: readonly { readonly name: string; readonly width: number }[],
  sums: readonly string[],
  next: { readonly columns: Columns; readonly isStaged: boolean },
  scoresAgain: string,
  kept?: KeptWeights,
  also: { readonly first: string; readonly again: string } = { first: '', again: '' },
): string {
  const { matrices } = tile;
  const store = storeWeights(tile, (i, q) => `p${i}_${q}`);
  const keeping = kept ? keep(tile, kept, (i, q) => `p${i}_${q}`) : '';
  const { lift, headroom } = rangeOf(tile);
  const top = (i: number): string => (matrices ? `ceil(top${i}) - ${lift}` : `top${i}`);
  const weight = (i: number, q: number): string =>
    `p${i}_${q} = ${asOperand(tile, `exp2(${quadOf('s', i, q)} - m${i})`)};`;
  const rescale = (i: number): string => `
      let raised${i} = max(${top(i)}, m${i});
      let factor${i} = exp2(max(m${i} - raised${i}, -200.0));
      m${i} = raised${i};
      l${i} *= factor${i};
      ${sums.map((name) => `${name}${i} *= factor${i};`).join(' ')}
      ${unroll(tile.quads, (q) => weight(i, q))}
      ${matrices ? `added${i} = ${sumOfQuads(tile, 'p', i)};` : ''}`;
  const again = (kept: KeptWeights): string => `for (var earlier = 0u; earlier < t; earlier++) {
      ${keep(tile, kept, (i, q) => `(${keptQuad(tile, kept, i, q, 'earlier')} * factor${i})`, 'earlier')}
    }`;
  const tops = `
  var isOver = false;
  ${perRow(tile, (i) => `var top${i} = ${topOf(tile, i)}; isOver = isOver || top${i} > m${i} + ${headroom};`)}`;
  // Where weights only go to one sum, maxima are better taken behind them (docs/decisions/0062).
  const isSimple = !matrices && kept === undefined && sums.length === 0;
  return `
  ${isSimple ? stageAhead(tile, next.columns, next.isStaged) : tops}
  ${matrices ? stageAhead(tile, next.columns, next.isStaged) : ''}
  ${perQuad(tile, (i, q) => `var p${i}_${q} = ${asOperand(tile, `exp2(${matrices || isSimple ? `${quadOf('s', i, q)} - m${i}` : `min(${quadOf('s', i, q)} - m${i}, vec4f(30.0))`})`)};`)}
  ${matrices ? `${perRow(tile, (i) => `var added${i} = ${sumOfQuads(tile, 'p', i)};`)}\n${store}\n${keeping}\n${also.first}` : isSimple ? `${store}\n${tops}` : `${stageAhead(tile, next.columns, next.isStaged)}\n${store}`}
  if (isOver) { flag.x = 1u; }
  if (workgroupUniformLoad(&flag).x != 0u) {
    ${reduceRows(tile, ['top'], 'max')}
    if (tid == 0u) { flag.x = 0u; }
    ${matrices ? scoresAgain : ''}
    ${perRow(tile, rescale)}
    ${accumulators.map(({ name, width }) => scaleAccumulator(tile, name, width, (i) => `factor${i}`)).join('\n')}
    ${kept ? again(kept) : ''}
    ${store}
    ${matrices ? keeping : ''}
    ${also.again}
    workgroupBarrier();
  }
  ${matrices ? '' : keeping}
  ${perRow(tile, (i) => `l${i} += ${matrices ? `added${i}` : sumOfQuads(tile, 'p', i)};`, ' ')}`;
}
