import { ROW_PADDING } from './row_layout.js';
import type { BufferType, ParamType } from './shader.js';
import type { Tile } from './tile.wgsl.js';

/*
 * Tiles that half precision is too coarse for. A kernel by matrices flags them, and the same kernel in float32 then takes
 * the flagged ones. `flags` holds a word for every 64 rows of all heads, and behind them for every head how many of its
 * keys the flagged tiles see: so many are prepared in float32.
 */

/** Rows that share a flag. */
const FLAGGED_ROWS = ROW_PADDING;

export const flagBytes = (heads: number, Tqp: number): number => 4 * heads * (Tqp / FLAGGED_ROWS + 1);

export const flagParams: Record<string, ParamType> = { heads: 'u32' };

export const flagBuffer = ({ matrices }: Tile): BufferType =>
  matrices ? { access: 'read_write', element: 'atomic<u32>' } : { access: 'read', element: 'u32' };

/** Expression: how many keys of a head the flagged tiles see. */
export const flaggedKeys = (head: string): string => `flags[params.heads * (params.Tqp / ${FLAGGED_ROWS}u) + ${head}]`;

/** The flag of the rows around `row`, an expression, of the head. */
const flagOf = (row: string): string => `flags[(head * params.Tqp + ${row}) / ${FLAGGED_ROWS}u]`;

/** Flags the rows around `row`, an expression, of the head: a row of the head's own. */
export const flag = (row: string): string => `
  atomicStore(&${flagOf(row)}, 1u);
  atomicMax(&${flaggedKeys('head')}, bound(min(${row} | ${FLAGGED_ROWS - 1}u, params.Tq - 1u)));`;

/** `isFlagged`, for the whole workgroup: whether the tile of rows from `firstRow` on is. */
export const readFlag = `
  if (tid == 0u) { shared_number.y = ${flagOf('firstRow')}; }
  let isFlagged = workgroupUniformLoad(&shared_number).y != 0u;`;

/** Expression: whether the tile of row `row` of the head is flagged, for kernels that only read flags. */
export const isFlaggedRow = (row: string): string => `(${flagOf(row)} != 0u)`;

/** Roundings of keys average out: of fewer than these they do not, in gradients, and float32 takes little time. */
export const FEWEST_VISIBLE = 64;

/** Leaves the tile to float32, and the kernel, where no row of it sees so many keys. */
export const leaveFewKeys = (rows: number): string => `
  if (bound(min(firstRow + ${rows - 1}u, params.Tq - 1u)) < ${FEWEST_VISIBLE}u) {
    if (tid == 0u) { ${flag('firstRow')} }
    return;
  }`;

/**
 * Rounding query and key to half precision shifts a score by about 2^-12 of `scale |q|` times the keys' deviation, whatever
 * the score is. At this many units of log(2^-12) weights are off by a thousandth.
 */
const MOST_SPREAD = '4.0';

/** Whether row `i`, with its query as operand `s`, has scores that half precision is too coarse for. */
export const hasCoarseScores = (i: number): string =>
  `(params.scale * params.scale * square_s${i} * keyVariance > ${MOST_SPREAD} * ${MOST_SPREAD})`;
