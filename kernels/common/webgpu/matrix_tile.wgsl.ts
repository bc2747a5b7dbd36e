import { matrixText, perBlock } from './matrix.wgsl.js';
import { BLOCK, type Matrices, SUBGROUP } from './matrices.js';
import { reduceRows } from './reduce_rows.wgsl.js';
import { unroll } from './shader.js';
import {
  blockColumnsOf,
  blockRowsOf,
  type Columns,
  perGroup,
  perQuad,
  perRow,
  type Products,
  type RowQuad,
  threadsOf,
  type Tile,
} from './tile_shape.js';

/*
 * The operations of a tile (tile.wgsl.ts) by matrices. A subgroup owns 16 rows. Their vectors are left operands that stay in
 * registers over a pass; columns are staged as half-precision numbers and are right operands; products go through `scores`
 * to the threads that own them, weights come back through `halves`, and accumulators are sums that stay in registers.
 */

export interface MatrixTile extends Tile {
  readonly matrices: Matrices;
}

const BLOCK_QUADS = BLOCK / 4;

/**
 * Quads from row to row. Two more than there are, so that neighbouring rows lie in different banks. How many workgroups run at a
 * time is bounded by this memory, and they hide each other's barriers: what does not fit into it goes through in slices.
 */
const stagedStride = ({ chunk }: Tile): number => chunk + 2;
const rowQuads = (tile: Tile): number => blockColumnsOf(tile) / 4;
const rowStride = (tile: Tile): number => rowQuads(tile) + 2;

const quadCounts = (tile: Tile): { staged: number; halves: number; scores: number } => ({
  staged: blockColumnsOf(tile) * stagedStride(tile),
  halves: blockRowsOf(tile) * rowStride(tile),
  scores: blockRowsOf(tile) * rowStride(tile),
});

/** With 64 rows, 16 columns and heads of 64: 2.25 KiB of columns, 3 of halves, 6 of scores. */
export function matrixBytes(tile: MatrixTile): number {
  const { staged, halves, scores } = quadCounts(tile);
  return 8 * (staged + halves) + 16 * scores;
}

/** Every variable is a multiple of 16 bytes: matrices that do not begin at one are silently read from elsewhere. */
export function declareMatrixMemory(tile: MatrixTile): string {
  const { staged, halves, scores } = quadCounts(tile);
  return `
var<workgroup> staged: array<Half4, ${staged}>;
var<workgroup> halves: array<Half4, ${halves}>;
var<workgroup> scores: array<vec4f, ${scores}>;`;
}

/** `text` for each slice of vectors of `width` quads that fits in the rows: its first quad and its quads. */
function perSlice(tile: Tile, width: number, text: (first: number, quads: number) => string): string {
  const most = rowQuads(tile);
  return unroll(Math.ceil(width / most), (s) => text(s * most, Math.min(most, width - s * most)));
}

/** First of a subgroup's rows in an array. */
const subgroupBase = (stride: number): string => `(tid / ${SUBGROUP}u) * ${BLOCK * stride}u`;

const ownHalf = (tile: Tile, column: string): string => `halves[ty * ${rowStride(tile)}u + ${column}]`;
const ownScore = (tile: Tile, column: string): string => `scores[ty * ${rowStride(tile)}u + ${column}]`;
const columnOf = ({ threadsX }: Tile, g: number): string => `tx + ${threadsX * g}u`;

/** Copies the columns of tile `t`; nobody may be reading the last ones. */
export function stage(tile: MatrixTile, { buffer, base, stride, offset, width }: Columns): string {
  const total = blockColumnsOf(tile) * width;
  const threads = threadsOf(tile);
  return unroll(Math.ceil(total / threads), (step) => {
    const copy = `{ let at = tid + ${step * threads}u; let column = at / ${width}u; let c = at % ${width}u;
      staged[column * ${stagedStride(tile)}u + c] =
        ${buffer}[${base} + (t * ${blockColumnsOf(tile)}u + column) * ${stride}u + ${offset}u + c]; }`;
    return (step + 1) * threads > total ? `if (tid < ${total - step * threads}u) ${copy}` : copy;
  });
}

/**
 * Makes the vectors of a tile's rows, `width` quads each, the left operand `name` of products, in units of a power of two
 * above their length. `isSplit`: as a sum of two half-precision numbers, for which every product is made twice.
 */
export function matrixOperand(tile: MatrixTile, name: string, row: RowQuad, width: number, isSplit: boolean): string {
  const { left } = matrixText(tile.matrices);
  const stride = rowStride(tile);
  const store = (value: string, first: number, quads: number): string =>
    perGroup(tile, quads, (i, g) => {
      const column = columnOf(tile, g);
      return `{ let x = ${row(i, `${column} + ${first}u`)} * inverse_${name}; ${ownHalf(tile, column)} = toHalf4(${value}); }`;
    });
  const make = (part: string, value: string): string =>
    perSlice(
      tile,
      width,
      (first, quads) => `
  workgroupBarrier();
  ${store(value, first, quads)}
  workgroupBarrier();
  ${perBlock(
    quads,
    (d) =>
      `let ${part}_${name}_${d + first / BLOCK_QUADS} = ${left(`${subgroupBase(stride)} + ${d * BLOCK_QUADS}u`, stride)};`,
  )}`,
    );
  return `
  ${perRow(tile, (i) => `var square_${name}${i} = 0.0;`)}
  ${perGroup(tile, width, (i, g) => `{ let x = ${row(i, columnOf(tile, g))}; square_${name}${i} += dot(x, x); }`)}
  ${reduceRows(tile, [`square_${name}`], 'sum')}
  let unit_${name} = unitAbove(sqrt(square_${name}0));
  let inverse_${name} = inverseOf(unit_${name});
  ${make('left', 'half(x)')}
  ${isSplit ? make('low', 'x - half(x)') : ''}
  workgroupBarrier();`;
}

/** Has the threads read their products `name{i}_{j}` with columns of that unit, the last that were made. */
export const readProducts = (tile: MatrixTile, name: string, unit = '1.0'): string =>
  `{ let factor = unit_${name} * ${unit};
    ${perQuad(tile, (i, q) => `{ let x = ${ownScore(tile, columnOf(tile, q))} * factor; ${unroll(4, (j) => `${name}${i}_${4 * q + j} = x[${j}];`, ' ')} }`)} }`;

export function matrixProducts(tile: MatrixTile, columns: Columns, sets: readonly Products[]): string {
  const { right, multiplyAdd, storeSum } = matrixText(tile.matrices);
  const parts = ({ isSplit }: Products): string[] => ['left', ...(isSplit ? ['low'] : [])];
  const block = (set: Products, b: number): string => `{
    var product = Sum();
    ${perBlock(
      columns.width,
      (d) => `{ let column = ${right(`${b * BLOCK * stagedStride(tile) + d * BLOCK_QUADS}u`, stagedStride(tile), true)};
      ${parts(set)
        .map((part) => `product = ${multiplyAdd(`${part}_${set.name}_${d}`, 'column', 'product')};`)
        .join(' ')} }`,
    )}
    ${storeSum(`${subgroupBase(rowStride(tile))} + ${b * BLOCK_QUADS}u`, 'product', rowStride(tile))}
  }`;
  return `
  workgroupBarrier();
  ${stage(tile, columns)}
  workgroupBarrier();
  ${sets
    .map(
      (set) => `
  ${unroll(blockColumnsOf(tile) / BLOCK, (b) => block(set, b))}
  workgroupBarrier();
  ${readProducts(tile, set.name, columns.unit)}`,
    )
    .join('\nworkgroupBarrier();\n')}`;
}

/** Weights in units of a power of two, an expression. */
export const storeHalves = (tile: MatrixTile, value: (i: number, q: number) => string, unit: string): string =>
  `{ let inverse = inverseOf(${unit});
  ${perQuad(tile, (i, q) => `${ownHalf(tile, columnOf(tile, q))} = toHalf4(${value(i, q)} * inverse);`)} }`;

export const declareSums = (name: string, width: number): string =>
  perBlock(width, (d) => `var sum_${name}_${d} = Sum();`, ' ');

export const clearMatrices = (name: string, width: number): string =>
  perBlock(width, (d) => `sum_${name}_${d} = Sum();`, ' ');

/**
 * `isStaged`: the columns are. Behind products or a barrier, nobody reads those that are staged any more. `isVisible`: a barrier
 * stands behind the writing of columns and weights already.
 */
export function matrixAccumulate(
  tile: MatrixTile,
  name: string,
  columns: Columns,
  isStaged: boolean,
  isVisible: boolean,
): string {
  const { left, right, multiplyAdd } = matrixText(tile.matrices);
  const block = (b: number): string => `{
    let row = ${left(`${subgroupBase(rowStride(tile))} + ${b * BLOCK_QUADS}u`, rowStride(tile))};
    ${perBlock(
      columns.width,
      (
        d,
      ) => `{ let column = ${right(`${b * BLOCK * stagedStride(tile) + d * BLOCK_QUADS}u`, stagedStride(tile), false)};
      sum_${name}_${d} = ${multiplyAdd('row', 'column', `sum_${name}_${d}`)}; }`,
    )}
  }`;
  return `
  ${isStaged ? '' : stage(tile, columns)}
  ${isVisible ? '' : 'workgroupBarrier();'}
  ${unroll(blockColumnsOf(tile) / BLOCK, block)}`;
}

const storeSlice = (tile: MatrixTile, name: string, first: number, quads: number): string => {
  const { storeSum } = matrixText(tile.matrices);
  return perBlock(quads, (d) =>
    storeSum(
      `${subgroupBase(rowStride(tile))} + ${d * BLOCK_QUADS}u`,
      `sum_${name}_${d + first / BLOCK_QUADS}`,
      rowStride(tile),
    ),
  );
};

/** Has the threads read their quads `name{i}_{g}` of an accumulator, times `factor`. */
export const readSums = (tile: MatrixTile, name: string, width: number, factor: string): string =>
  perSlice(
    tile,
    width,
    (first, quads) => `
  workgroupBarrier();
  ${storeSlice(tile, name, first, quads)}
  workgroupBarrier();
  ${perGroup(tile, quads, (i, g) => `${name}${i}_${first / tile.threadsX + g} = ${ownScore(tile, columnOf(tile, g))} * ${factor};`)}`,
  );

/** Multiplies an accumulator's rows by `factor`. */
export function scaleSums(tile: MatrixTile, name: string, width: number, factor: string): string {
  const { loadSum } = matrixText(tile.matrices);
  return perSlice(
    tile,
    width,
    (first, quads) => `
  workgroupBarrier();
  ${storeSlice(tile, name, first, quads)}
  workgroupBarrier();
  ${perGroup(tile, quads, (_, g) => `${ownScore(tile, columnOf(tile, g))} *= ${factor};`)}
  workgroupBarrier();
  ${perBlock(
    quads,
    (d) =>
      `sum_${name}_${d + first / BLOCK_QUADS} = ${loadSum(`${subgroupBase(rowStride(tile))} + ${d * BLOCK_QUADS}u`, rowStride(tile))};`,
    ' ',
  )}`,
  );
}
