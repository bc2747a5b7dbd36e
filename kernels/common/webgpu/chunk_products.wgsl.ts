import { stateQuads, type Vectors } from './chunk_states.wgsl.js';
import { unroll } from './shader.js';
import {
  accumulateWeights,
  blockColumnsOf,
  blockRowsOf,
  type Columns,
  groupsOf,
  perRow,
  products,
  quadOf,
  type RowQuad,
  type Tile,
} from './tile.wgsl.js';

/** Rows of left or right vectors in a prepared tensor, as columns that a tile is multiplied with. */
export const columnsOf = (buffer: string, rows: string, { stride, offset, width }: Vectors): Columns => ({
  buffer,
  base: `head * params.${rows} * ${stride}u`,
  stride,
  offset,
  width,
});

/** A state in `states`, whose first quad is at the variable `base`: its rows are the left vectors' channels. */
export const stateColumns = (right: Vectors, base = 'state'): Columns => ({
  buffer: 'states',
  base,
  stride: right.width,
  offset: 0,
  width: right.width,
});

/** Right vectors as a part of those that a state was summed of. */
export interface StatePart {
  readonly right: Vectors;
  /** First quad of the part. */
  readonly offset: number;
}

/** The same for a part of a state's right vectors. */
export const partColumns = ({ right, offset }: StatePart, { width }: Vectors): Columns => ({
  ...stateColumns(right),
  offset,
  width,
});

/** First quad of a state of the head `head`, by the number of its chunk. */
export const stateAt = (chunk: string, chunks: string, left: Vectors, right: Vectors): string =>
  `(head * (params.${chunks} + 1u) + ${chunk}) * ${stateQuads(left, right)}u`;

/** Quad `c` of the sum of left vectors that stands behind a state. */
export const stateSum = (left: Vectors, right: Vectors, c: string): string =>
  `states[state + ${4 * left.width * right.width}u + ${c}]`;

/** `name += row^T state`, a number per channel of the right vectors; `each` sees the quads `w{i}` of the rows. */
export function timesState(
  tile: Tile,
  name: string,
  row: RowQuad,
  left: Vectors,
  state: Columns,
  each: (i: number) => string = () => '',
): string {
  return `
  for (var t = 0u; t < ${(4 * left.width) / blockColumnsOf(tile)}u; t++) {
    ${perRow(tile, (i) => `let w${i} = ${row(i, `(t * ${tile.threadsX}u + tx)`)}; ${each(i)}`)}
    ${accumulateWeights(tile, name, (i) => `w${i}`, state)}
  }`;
}

/** `name += state row`, a number per channel of the left vectors; `added` is a quad of row `i` that is added to it. */
export function stateTimes(
  tile: Tile,
  name: string,
  row: RowQuad,
  left: Vectors,
  state: Columns,
  added: (i: number, c: string) => string = () => 'vec4f()',
): string {
  return unroll(
    groupsOf(tile, left.width),
    (g) => `{
    let t = ${g}u;
    ${products(tile, state, [{ name: 's', row }])}
    ${perRow(tile, (i) => `${name}${i}_${g} += ${quadOf('s', i)} + ${added(i, `tx + ${tile.threadsX * g}u`)};`)}
  }`,
  );
}

/** Expression: number of a thread's row `i` in its tile, the last rows first: those see the most keys (`overKeyTiles`). */
export const rowPlace =
  ({ threadsY, rows }: Tile) =>
  (i: number): string =>
    `ty + ${threadsY * (rows - 1 - i)}u`;

/** Whether half of a thread's rows are none of those of a tile of columns at the end of the tile's own. */
const isHalved = (tile: Tile): boolean => tile.rows % 2 === 0 && blockRowsOf(tile) === 2 * blockColumnsOf(tile);

/**
 * For a tile of query rows: its bounds, the chunk up to whose start every row sees all keys (`firstChunk`), and the tiles
 * of keys from there on (`keyTiles`), which some rows see. Without a causal bound a state holds all keys.
 */
export function declareRowChunks(tile: Tile, isCausal: boolean): string {
  const columns = blockColumnsOf(tile);
  if (!isCausal) return 'let firstChunk = params.keyChunks;';
  return `
  ${perRow(tile, (i) => `let bound${i} = bound(firstRow + ${rowPlace(tile)(i)});`, ' ')}
  let firstBound = bound(firstRow);
  let firstChunk = firstBound / params.chunk;
  let firstTile = firstChunk * params.chunk / ${columns}u;
  let halfBound = bound(firstRow + ${blockRowsOf(tile) / 2 - 1}u);
  let keyTiles = (bound(min(firstRow + ${blockRowsOf(tile) - 1}u, params.Tq - 1u)) + ${columns - 1}u) / ${columns}u;`;
}

/** `text` for each of these tiles of keys; those that the first half of the rows does not see are left to the others. */
export function overKeyTiles(tile: Tile, text: (of: Tile) => string): string {
  const body = isHalved(tile)
    ? `if (t * ${blockColumnsOf(tile)}u < halfBound) { ${text(tile)} } else { ${text({ ...tile, rows: tile.rows / 2 })} }`
    : text(tile);
  return `for (var t = firstTile; t < keyTiles; t++) { ${body} }`;
}

/** Zero weights for keys of tile `t` beyond the rows' bounds. */
export function hideKeys(tile: Tile, name: string): string {
  const columns = blockColumnsOf(tile);
  const mask = (i: number, j: number): string =>
    `${name}${i}_${j} = select(0.0, ${name}${i}_${j}, t * ${columns}u + 4u * tx + ${j}u < bound${i});`;
  return `
    if ((t + 1u) * ${columns}u > firstBound) {
      ${perRow(tile, (i) => unroll(4, (j) => mask(i, j), ' '))}
    }`;
}

/** First row that sees a key. */
export const startFunction = (isCausal: boolean): string => `
fn start(j: u32) -> u32 {
  ${isCausal ? 'return u32(max(i32(params.Tq + j) - i32(params.Tk), 0i));' : 'return 0u;'}
}`;

/** For a tile of keys: first rows that see them, the chunk from which on every row does, and tiles of rows before it. */
export function declareKeyChunks(tile: Tile, isCausal: boolean): string {
  const columns = blockColumnsOf(tile);
  if (!isCausal) return 'let firstChunk = 0u;';
  return `
  ${perRow(tile, (i) => `let start${i} = start(firstKey + ty + ${tile.threadsY * i}u);`, ' ')}
  let lastStart = start(firstKey + ${blockRowsOf(tile) - 1}u);
  let firstChunk = min((lastStart + params.chunk - 1u) / params.chunk, params.rowChunks);
  let halfStart = start(firstKey + ${blockRowsOf(tile) / 2}u);
  let firstTile = start(firstKey) / ${columns}u;
  let rowTiles = min(firstChunk * params.chunk, params.Tqp) / ${columns}u;`;
}

/** `text` for each of these tiles of rows; those that see none of the second half of the keys are left to the others. */
export function overRowTiles(tile: Tile, text: (of: Tile) => string): string {
  const body = isHalved(tile)
    ? `if ((t + 1u) * ${blockColumnsOf(tile)}u > halfStart) { ${text(tile)} } else { ${text({ ...tile, rows: tile.rows / 2 })} }`
    : text(tile);
  return `for (var t = firstTile; t < rowTiles; t++) { ${body} }`;
}

/** Zero weights for rows of tile `t` that come before the first that sees the key. */
export function hideRows(tile: Tile, name: string): string {
  const columns = blockColumnsOf(tile);
  const mask = (i: number, j: number): string =>
    `${name}${i}_${j} = select(0.0, ${name}${i}_${j}, t * ${columns}u + 4u * tx + ${j}u >= start${i});`;
  return `
    if (t * ${columns}u < lastStart) {
      ${perRow(tile, (i) => unroll(4, (j) => mask(i, j), ' '))}
    }`;
}
