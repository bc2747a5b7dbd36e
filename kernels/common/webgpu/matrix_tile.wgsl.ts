import { matrixText, perBlock } from './matrix.wgsl.js';
import { BLOCK, type Matrices, SUBGROUP } from './matrices.js';
import { reduceRows } from './reduce_rows.wgsl.js';
import { unroll } from './shader.js';
import {
  blockColumnsOf,
  blockRowsOf,
  type ColumnProducts,
  type Columns,
  perGroup,
  perQuad,
  perRow,
  type Products,
  type RowQuad,
  threadsOf,
  type Tile,
  type WeightedColumns,
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
const halvesStride = (tile: Tile): number => (tile.areas ?? 1) * rowQuads(tile) + 2;
const scoresStride = (tile: Tile): number => rowQuads(tile) + 2;

/** Quads of one set of staged columns. */
const regionQuads = (tile: Tile): number => blockColumnsOf(tile) * stagedStride(tile);

/** Quads of one area of products. */
const areaQuads = (tile: Tile): number => blockRowsOf(tile) * scoresStride(tile);

const quadCounts = (tile: Tile): { staged: number; halves: number; scores: number } => ({
  staged: (tile.regions ?? 1) * regionQuads(tile),
  halves: blockRowsOf(tile) * halvesStride(tile),
  scores: (tile.areas ?? 1) * areaQuads(tile),
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

const ownHalf = (tile: Tile, column: string): string => `halves[ty * ${halvesStride(tile)}u + ${column}]`;
const ownScore = (tile: Tile, column: string): string => `scores[ty * ${scoresStride(tile)}u + ${column}]`;
const columnOf = ({ threadsX }: Tile, g: number): string => `tx + ${threadsX * g}u`;

const firstStaged = (tile: Tile, { region = 0 }: Columns): string => `${region * regionQuads(tile)}u`;

/** Copies the columns of tile `t`; nobody may be reading the last ones. */
export function stage(tile: MatrixTile, columns: Columns): string {
  const { buffer, base, stride, offset, width } = columns;
  const total = blockColumnsOf(tile) * width;
  const threads = threadsOf(tile);
  return unroll(Math.ceil(total / threads), (step) => {
    const copy = `{ let at = tid + ${step * threads}u; let column = at / ${width}u; let c = at % ${width}u;
      staged[${firstStaged(tile, columns)} + column * ${stagedStride(tile)}u + c] =
        ${buffer}[${base} + (t * ${blockColumnsOf(tile)}u + column) * ${stride}u + ${offset}u + c]; }`;
    return (step + 1) * threads > total ? `if (tid < ${total - step * threads}u) ${copy}` : copy;
  });
}

/** The left operand `name`, or its low part, of half-precision numbers `value` of quads of the tile's rows, through `halves`. */
function makeOperand(
  tile: MatrixTile,
  part: 'left' | 'low',
  name: string,
  width: number,
  value: (i: number, column: string) => string,
): string {
  const { left } = matrixText(tile.matrices);
  const stride = halvesStride(tile);
  const store = (first: number, quads: number): string =>
    perGroup(tile, quads, (i, g) => {
      const column = columnOf(tile, g);
      return `${ownHalf(tile, column)} = ${value(i, `${column} + ${first}u`)};`;
    });
  return perSlice(
    tile,
    width,
    (first, quads) => `
  workgroupBarrier();
  ${store(first, quads)}
  workgroupBarrier();
  ${perBlock(
    quads,
    (d) =>
      `let ${part}_${name}_${d + first / BLOCK_QUADS} = ${left(`${subgroupBase(stride)} + ${d * BLOCK_QUADS}u`, stride)};`,
  )}`,
  );
}

/** The left operand of vectors that are of half precision already, in units of `unit`. */
export const halfOperand = (tile: MatrixTile, name: string, row: RowQuad, width: number, unit: string): string => `
  let unit_${name} = ${unit};
  ${makeOperand(tile, 'left', name, width, row)}
  workgroupBarrier();`;

/**
 * Makes the vectors of a tile's rows, `width` quads each, the left operand `name` of products, in units of a power of two
 * above their length. `isSplit`: as a sum of two half-precision numbers, for which every product is made twice.
 */
export function matrixOperand(tile: MatrixTile, name: string, row: RowQuad, width: number, isSplit: boolean): string {
  const make = (part: 'left' | 'low', text: (x: string) => string): string =>
    makeOperand(tile, part, name, width, (i, column) => `toHalf4(${text(`(${row(i, column)} * inverse_${name})`)})`);
  return `
  ${perRow(tile, (i) => `var square_${name}${i} = 0.0;`)}
  ${perGroup(tile, width, (i, g) => `{ let x = ${row(i, columnOf(tile, g))}; square_${name}${i} += dot(x, x); }`)}
  ${reduceRows(tile, [`square_${name}`], 'sum')}
  let unit_${name} = unitAbove(sqrt(square_${name}0));
  let inverse_${name} = inverseOf(unit_${name});
  ${make('left', (x) => `half(${x})`)}
  ${isSplit ? make('low', (x) => `${x} - half(${x})`) : ''}
  workgroupBarrier();`;
}

type NamedProducts = Pick<Products, 'name' | 'operand'>;

const operandOf = ({ name, operand = name }: NamedProducts): string => operand;

/** Sums of the products of rows and of the columns that are staged, to the rows' part of area `area` of `scores`. */
function storeProducts(tile: MatrixTile, columns: Columns, set: Products, area = 0): string {
  const { right, multiplyAdd, storeSum } = matrixText(tile.matrices);
  const parts = ['left', ...(set.isSplit ? ['low'] : [])];
  return unroll(
    blockColumnsOf(tile) / BLOCK,
    (b) => `{
    var product = Sum();
    ${perBlock(
      columns.width,
      (
        d,
      ) => `{ let column = ${right(`${firstStaged(tile, columns)} + ${b * BLOCK * stagedStride(tile) + d * BLOCK_QUADS}u`, stagedStride(tile), true)};
      ${parts
        .map((part) => `product = ${multiplyAdd(`${part}_${operandOf(set)}_${d}`, 'column', 'product')};`)
        .join(' ')} }`,
    )}
    ${storeSum(`${area * areaQuads(tile)}u + ${subgroupBase(scoresStride(tile))} + ${b * BLOCK_QUADS}u`, 'product', scoresStride(tile))}
  }`,
  );
}

/** Has the threads read their products `name{i}_{j}` of an area, the last that were made there. */
export const readProducts = (tile: MatrixTile, { unit }: Columns, set: NamedProducts, area = 0): string => `{
    let factor = unit_${operandOf(set)} * ${unit ?? '1.0'};
    ${perQuad(tile, (i, q) => `{ let x = ${ownScore(tile, `${area * areaQuads(tile)}u + ${columnOf(tile, q)}`)} * factor; ${unroll(4, (j) => `${set.name}${i}_${4 * q + j} = x[${j}];`, ' ')} }`)} }`;

export const matrixProducts = (tile: MatrixTile, columns: Columns, sets: readonly Products[]): string => `
  workgroupBarrier();
  ${stage(tile, columns)}
  workgroupBarrier();
  ${sets
    .map(
      (set) => `
  ${storeProducts(tile, columns, set)}
  workgroupBarrier();
  ${readProducts(tile, columns, set)}`,
    )
    .join('\nworkgroupBarrier();\n')}`;

const inTurns = <Item>(tile: Tile, items: readonly Item[], text: (items: readonly Item[]) => string): string => {
  const { areas = 1 } = tile;
  const turns = Array.from({ length: Math.ceil(items.length / areas) }, (_, turn) =>
    items.slice(turn * areas, (turn + 1) * areas),
  );
  return turns.map(text).join('\nworkgroupBarrier();\n');
};

/** Stages sets of columns, each in its region, and makes products with them: as many at a time as there are areas. */
export const productsOfRegions = (tile: MatrixTile, pairs: readonly ColumnProducts[]): string => `
  workgroupBarrier();
  ${pairs.map(({ columns }) => stage(tile, columns)).join('\n')}
  workgroupBarrier();
  ${inTurns(
    tile,
    pairs,
    (some) => `
  ${some.map(({ columns, set }, area) => storeProducts(tile, columns, set, area)).join('\n')}
  workgroupBarrier();
  ${some.map(({ columns, set }, area) => readProducts(tile, columns, set, area)).join('\n')}`,
  )}`;

/** The same for weights, behind `productsOfRegions`: a barrier is between the last reading of weights and the next writing. */
export const accumulateRegions = (tile: MatrixTile, sums: readonly WeightedColumns[]): string =>
  inTurns(
    tile,
    sums,
    (some) => `
  ${some.map(({ value, unit }, area) => storeHalves(tile, value, unit, area)).join('\n')}
  workgroupBarrier();
  ${some.map(({ name, columns }, area) => addWeighted(tile, name, columns, area)).join('\n')}`,
  );

/** Weights in units of a power of two, an expression. */
export const storeHalves = (
  tile: MatrixTile,
  value: (i: number, q: number) => string,
  unit: string,
  area = 0,
): string =>
  `{ let inverse = inverseOf(${unit});
  ${perQuad(tile, (i, q) => `${ownHalf(tile, `${(area * blockColumnsOf(tile)) / 4}u + ${columnOf(tile, q)}`)} = toHalf4(${value(i, q)} * inverse);`)} }`;

export const declareSums = (name: string, width: number): string =>
  perBlock(width, (d) => `var sum_${name}_${d} = Sum();`, ' ');

export const clearMatrices = (name: string, width: number): string =>
  perBlock(width, (d) => `sum_${name}_${d} = Sum();`, ' ');

/** Adds weights times the columns that are staged. */
function addWeighted(tile: MatrixTile, name: string, columns: Columns, area = 0): string {
  const { left, right, multiplyAdd } = matrixText(tile.matrices);
  const first = (area * blockColumnsOf(tile)) / 4;
  return unroll(
    blockColumnsOf(tile) / BLOCK,
    (b) => `{
    let row = ${left(`${subgroupBase(halvesStride(tile))} + ${first + b * BLOCK_QUADS}u`, halvesStride(tile))};
    ${perBlock(
      columns.width,
      (
        d,
      ) => `{ let column = ${right(`${firstStaged(tile, columns)} + ${b * BLOCK * stagedStride(tile) + d * BLOCK_QUADS}u`, stagedStride(tile), false)};
      sum_${name}_${d} = ${multiplyAdd('row', 'column', `sum_${name}_${d}`)}; }`,
    )}
  }`,
  );
}

/**
 * `isStaged`: the columns are. Behind products or a barrier, nobody reads those that are staged any more. `isVisible`: a barrier
 * stands behind the writing of columns and weights already.
 */
export const matrixAccumulate = (
  tile: MatrixTile,
  name: string,
  columns: Columns,
  isStaged: boolean,
  isVisible: boolean,
): string => `
  ${isStaged ? '' : stage(tile, columns)}
  ${isVisible ? '' : 'workgroupBarrier();'}
  ${addWeighted(tile, name, columns)}`;

const storeSlice = (tile: MatrixTile, name: string, first: number, quads: number): string => {
  const { storeSum } = matrixText(tile.matrices);
  return perBlock(quads, (d) =>
    storeSum(
      `${subgroupBase(scoresStride(tile))} + ${d * BLOCK_QUADS}u`,
      `sum_${name}_${d + first / BLOCK_QUADS}`,
      scoresStride(tile),
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
      `sum_${name}_${d + first / BLOCK_QUADS} = ${loadSum(`${subgroupBase(scoresStride(tile))} + ${d * BLOCK_QUADS}u`, scoresStride(tile))};`,
    ' ',
  )}`,
  );
}
