import { matrixText, perBlock } from './matrix.wgsl.js';
import { BLOCK, SUBGROUP } from './matrices.js';
import { BLOCK_QUADS, bufferQuads, firstStaged, type MatrixTile, stage, stagedStride } from './matrix_columns.wgsl.js';
import { reduceRows } from './reduce_rows.wgsl.js';
import { unroll } from './shader.js';
import {
  blockColumnsOf,
  blockRowsOf,
  type Columns,
  perGroup,
  perQuad,
  perRow,
  type ProductPart,
  type Products,
  type RowQuad,
  type StagedProducts,
  type Tile,
} from './tile_shape.js';

/*
 * The operations of a tile (tile.wgsl.ts) by matrices. A subgroup owns 16 rows. Their vectors are left operands that stay in
 * registers over a pass; columns are staged as half-precision numbers and are right operands; products go through `scores`
 * to the threads that own them, weights come back through `halves`, and accumulators are sums that stay in registers.
 */

/**
 * Quads from row to row, with the padding of staged columns. How many workgroups run at a time is bounded by this memory, and they
 * hide each other's barriers: what does not fit into it goes through in slices.
 */
const areaQuads = (tile: Tile): number => blockColumnsOf(tile) / 4;
const rowQuads = (tile: Tile): number => (tile.areas ?? 1) * areaQuads(tile);
const rowStride = (tile: Tile): number => rowQuads(tile) + 2;

const quadCounts = (tile: Tile): { staged: number; rows: number } => ({
  staged: (tile.buffers ?? 1) * bufferQuads(tile),
  rows: blockRowsOf(tile) * rowStride(tile),
});

/** With 64 rows, 16 columns and heads of 64: 2.25 KiB of columns, 3 of halves, 6 of scores. */
export function matrixBytes(tile: MatrixTile): number {
  const { staged, rows } = quadCounts(tile);
  return 8 * (staged + rows) + 16 * rows;
}

/** Every variable is a multiple of 16 bytes: matrices that do not begin at one are silently read from elsewhere. */
export function declareMatrixMemory(tile: MatrixTile): string {
  const { staged, rows } = quadCounts(tile);
  return `
var<workgroup> staged: array<Half4, ${staged}>;
var<workgroup> halves: array<Half4, ${rows}>;
var<workgroup> scores: array<vec4f, ${rows}>;`;
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

/** The left operand `name`, or its low part, of half-precision numbers `value` of quads of the tile's rows, through `halves`. */
function makeOperand(
  tile: MatrixTile,
  part: 'left' | 'low',
  name: string,
  width: number,
  value: (i: number, column: string) => string,
): string {
  const { left } = matrixText(tile.matrices);
  const stride = rowStride(tile);
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

/** Vectors of rows, an operand, that are multiplied with columns in units of `columnUnit`. */
export interface JointPart {
  readonly operand: string;
  readonly row: RowQuad;
  readonly width: number;
  readonly columnUnit: string;
}

/** Numbers of half precision in a unit that others share may be this small a part of it and lose nothing. */
export const JOINT_SHIFT = 2 ** 14;

/**
 * Left operands whose products with columns, each of a unit of its own, are in the one unit `unit_name` and can be summed by the
 * matrices. The smaller of two has smaller numbers then: all are lifted to where the largest of half precision are.
 */
export const jointOperands = (tile: MatrixTile, name: string, parts: readonly JointPart[]): string => `
  ${parts
    .map(
      ({ operand, row, width }) => `
  ${perRow(tile, (i) => `var square_${operand}${i} = 0.0;`)}
  ${perGroup(tile, width, (i, g) => `{ let x = ${row(i, columnOf(tile, g))}; square_${operand}${i} += dot(x, x); }`)}`,
    )
    .join('\n')}
  ${reduceRows(
    tile,
    parts.map(({ operand }) => `square_${operand}`),
    'sum',
  )}
  let all_${name} = ${parts
    .map(({ operand, columnUnit }) => `unitAbove(sqrt(square_${operand}0)) * ${columnUnit}`)
    .reduce((a, b) => `max(${a}, ${b})`)};
  let unit_${name} = all_${name} * ${1 / JOINT_SHIFT};
  ${parts
    .map(
      ({ operand, row, width, columnUnit }) => `
  let inverse_${operand} = inverseOf(all_${name}) * ${columnUnit} * ${JOINT_SHIFT}.0;
  ${makeOperand(tile, 'left', operand, width, (i, column) => `toHalf4(half(${row(i, column)} * inverse_${operand}))`)}`,
    )
    .join('\n')}
  workgroupBarrier();`;

type NamedProducts = Pick<Products, 'name' | 'operand'>;

const operandOf = ({ name, operand = name }: NamedProducts): string => operand;

/** Products of one operand with columns. */
export const stagedProducts = (
  columns: Columns,
  set: Pick<Products, 'name' | 'operand' | 'isSplit'>,
): StagedProducts => ({
  name: set.name,
  parts: [{ operand: operandOf(set), columns, isSplit: set.isSplit }],
  unit: `unit_${operandOf(set)} * ${columns.unit ?? '1.0'}`,
});

const factorsOf = ({ operand, isSplit = false }: ProductPart, d: number): string[] =>
  ['left', ...(isSplit ? ['low'] : [])].map((part) => `${part}_${operand}_${d}`);

/** Sums of products of rows and of staged columns, to the rows' part of areas of `scores`, in turn; sets share what they load of a column. */
function storeProducts(tile: MatrixTile, sets: readonly StagedProducts[]): string {
  const { right, multiplyAdd, storeSum } = matrixText(tile.matrices);
  const regions = new Map(sets.flatMap(({ parts }) => parts.map(({ columns }) => [columns.region ?? 0, columns])));
  const multiply = (columns: Columns, d: number): string =>
    sets
      .flatMap(({ parts }, set) =>
        parts
          .filter((part) => (part.columns.region ?? 0) === (columns.region ?? 0))
          .flatMap((part) => factorsOf(part, d))
          .map((left) => `product${set} = ${multiplyAdd(left, 'column', `product${set}`)};`),
      )
      .join(' ');
  return unroll(
    blockColumnsOf(tile) / BLOCK,
    (b) => `{
    ${unroll(sets.length, (set) => `var product${set} = Sum();`, ' ')}
    ${[...regions.values()]
      .map((columns) =>
        perBlock(
          columns.width,
          (
            d,
          ) => `{ let column = ${right(`${firstStaged(tile, columns)} + ${b * BLOCK * stagedStride(tile) + d * BLOCK_QUADS}u`, stagedStride(tile), true)};
      ${multiply(columns, d)} }`,
        ),
      )
      .join('\n')}
    ${unroll(sets.length, (set) => storeSum(`${subgroupBase(rowStride(tile))} + ${set * areaQuads(tile) + b * BLOCK_QUADS}u`, `product${set}`, rowStride(tile)))}
  }`,
  );
}

/** Has the threads read products `name{i}_{j}` of an area, the last that were made there. */
export const readStaged = (tile: MatrixTile, { name, unit }: StagedProducts, area = 0): string => `{
    let factor = ${unit};
    ${perQuad(tile, (i, q) => `{ let x = ${ownScore(tile, `${area * areaQuads(tile)}u + ${columnOf(tile, q)}`)} * factor; ${unroll(4, (j) => `${name}${i}_${4 * q + j} = x[${j}];`, ' ')} }`)} }`;

export const readProducts = (tile: MatrixTile, columns: Columns, set: NamedProducts, area = 0): string =>
  readStaged(tile, stagedProducts(columns, set), area);

export function matrixProducts(tile: MatrixTile, columns: Columns, sets: readonly Products[]): string {
  const made = makeProducts(
    tile,
    sets.map((set) => stagedProducts(columns, set)),
  );
  // A loop that stages all that a tile takes has done so.
  if (tile.buffers !== undefined) return made;
  return `
  workgroupBarrier();
  ${stage(tile, columns)}
  workgroupBarrier();
  ${made}`;
}

const inTurns = <Item>(tile: Tile, items: readonly Item[], text: (items: readonly Item[]) => string): string => {
  const { areas = 1 } = tile;
  const turns = Array.from({ length: Math.ceil(items.length / areas) }, (_, turn) =>
    items.slice(turn * areas, (turn + 1) * areas),
  );
  return turns.map(text).join('\nworkgroupBarrier();\n');
};

/** Products with staged columns, as many at a time as there are areas. */
export const makeProducts = (tile: MatrixTile, sets: readonly StagedProducts[]): string =>
  inTurns(
    tile,
    sets,
    (some) => `
  ${storeProducts(tile, some)}
  workgroupBarrier();
  ${some.map((set, area) => readStaged(tile, set, area)).join('\n')}`,
  );

/** Weights in units of a power of two, an expression. */
export const storeHalves = (
  tile: MatrixTile,
  value: (i: number, q: number) => string,
  unit: string,
  area = 0,
): string =>
  `{ let inverse = inverseOf(${unit});
  ${perQuad(tile, (i, q) => `${ownHalf(tile, `${area * areaQuads(tile)}u + ${columnOf(tile, q)}`)} = toHalf4(${value(i, q)} * inverse);`)} }`;

export const declareSums = (name: string, width: number): string =>
  perBlock(width, (d) => `var sum_${name}_${d} = Sum();`, ' ');

export const clearMatrices = (name: string, width: number): string =>
  perBlock(width, (d) => `sum_${name}_${d} = Sum();`, ' ');

/** Columns that are staged and what sums them up, times weights in an area. */
export interface WeightedSum {
  readonly name: string;
  readonly columns: Columns;
  readonly area?: number;
}

/** Adds weights times the columns that are staged; sums share what they load of weights and of columns. */
export function addWeighted(tile: MatrixTile, sums: readonly WeightedSum[]): string {
  const { left, right, multiplyAdd } = matrixText(tile.matrices);
  const areas = [...new Set(sums.map(({ area = 0 }) => area))];
  const regions = new Map(sums.map(({ columns }) => [columns.region ?? 0, columns]));
  const add = (columns: Columns, d: number): string =>
    sums
      .filter((sum) => (sum.columns.region ?? 0) === (columns.region ?? 0))
      .map(({ name, area = 0 }) => `sum_${name}_${d} = ${multiplyAdd(`row${area}`, 'column', `sum_${name}_${d}`)};`)
      .join(' ');
  return unroll(
    blockColumnsOf(tile) / BLOCK,
    (b) => `{
    ${areas
      .map(
        (area) =>
          `let row${area} = ${left(`${subgroupBase(rowStride(tile))} + ${area * areaQuads(tile) + b * BLOCK_QUADS}u`, rowStride(tile))};`,
      )
      .join(' ')}
    ${[...regions.values()]
      .map((columns) =>
        perBlock(
          columns.width,
          (
            d,
          ) => `{ let column = ${right(`${firstStaged(tile, columns)} + ${b * BLOCK * stagedStride(tile) + d * BLOCK_QUADS}u`, stagedStride(tile), false)};
      ${add(columns, d)} }`,
        ),
      )
      .join('\n')}
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
  ${addWeighted(tile, [{ name, columns }])}`;

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
