import { declareMatrices, matrixPlace } from './matrix.wgsl.js';
import {
  loopOverColumns,
  type MatrixTile,
  stage as stageHalves,
  stageNext as stageNextHalves,
} from './matrix_columns.wgsl.js';
import {
  clearMatrices,
  declareMatrixMemory,
  declareSums,
  halfOperand,
  matrixAccumulate,
  matrixBytes,
  matrixOperand,
  matrixProducts,
  readProducts,
  readSums,
  scaleSums,
  storeHalves,
} from './matrix_tile.wgsl.js';
import { declareReduction, reductionBytes } from './reduce_rows.wgsl.js';
import { unroll } from './shader.js';
import {
  blockColumnsOf,
  blockRowsOf,
  type Columns,
  perGroup,
  perRow,
  type Products,
  type RowQuad,
  type StagedExtra,
  threadsOf,
  type Tile,
} from './tile_shape.js';

export {
  addWeighted,
  jointOperands,
  makeProducts,
  readStaged,
  stagedProducts,
  storeHalves,
} from './matrix_tile.wgsl.js';
export { loopOverColumns, type MatrixTile } from './matrix_columns.wgsl.js';
export { reduceRows } from './reduce_rows.wgsl.js';
export * from './tile_shape.js';

/** A tile whose products are made by matrices. */
export const isMatrixTile = (tile: Tile): tile is MatrixTile => tile.matrices !== undefined;

/** Quads behind a row's weights: threads that store theirs at once, of two rows and four columns, then meet in no bank. */
const WEIGHTS_PADDING = 4;

/**
 * Workgroup memory of `declareTile`. With 8 x 8 threads of 4 rows and chunks of 16 quads: staged columns
 * 16 * 32 * 17 = 8.5 KiB, weights 16 * 32 * 12 = 6 KiB, reductions 1 KiB, 32 bytes of flags: below the 16 KiB that every device has.
 */
export function tileBytes(tile: Tile): number {
  const staged = 16 * blockColumnsOf(tile) * (tile.chunk + 1);
  const weights = 16 * blockRowsOf(tile) * (tile.threadsX + WEIGHTS_PADDING);
  const products = isMatrixTile(tile) ? matrixBytes(tile) : staged + weights;
  return products + reductionBytes(tile) + 32;
}

/**
 * `staged`: a chunk of the columns' vectors; column `4a + b` lies at `[b][a]`, so that the threads of a row, which read
 * columns `4 tx + b`, read rows of 17 quads next to each other: no two in the same bank. `weights`: a row's numbers per
 * column, four columns a quad.
 */
export function declareTile(tile: Tile): string {
  const { threadsX, threadsY, rows, chunk } = tile;
  const memory = isMatrixTile(tile)
    ? `${declareMatrices(tile.matrices)}\n${declareMatrixMemory(tile)}`
    : `
var<workgroup> staged: array<array<array<vec4f, ${chunk + 1}>, ${threadsX}>, 4>;
var<workgroup> weights: array<array<array<vec4f, ${threadsX + WEIGHTS_PADDING}>, ${threadsY}>, ${rows}>;`;
  return `${memory}
${declareReduction(tile)}
var<workgroup> flag: vec4u;
var<workgroup> shared_number: vec4u;`;
}

/** Quads that a thread copies of a chunk of columns. */
const copiesOf = (tile: Tile, { width }: Columns): number =>
  Math.ceil((blockColumnsOf(tile) * Math.min(tile.chunk, width)) / threadsOf(tile));

/** Which quad a thread copies in its turn `step`, as `column` of the tile and `c` of the chunk; `isAll`: every thread has one. */
function copyPlace(tile: Tile, { width }: Columns, step: number): { readonly text: string; readonly isAll: boolean } {
  const quads = Math.min(tile.chunk, width);
  const last = blockColumnsOf(tile) * quads - 1;
  const isAll = (step + 1) * threadsOf(tile) <= last + 1;
  const at = `tid + ${step * threadsOf(tile)}u`;
  const text = `let at = ${isAll ? at : `min(${at}, ${last}u)`}; let column = at / ${quads}u; let c = at % ${quads}u;`;
  return { text, isAll };
}

const columnNumber = (tile: Tile, t: string): string => `(${t} * ${blockColumnsOf(tile)}u + column)`;
const quadNumber = (tile: Tile, chunk: string): string => `(${chunk} * ${tile.chunk}u + c)`;

/** Reads a thread's quads of chunk `chunk` of the columns of tile `t`, expressions, into variables `name{step}`. */
function readColumns(tile: Tile, columns: Columns, t: string, chunk: string, name: string): string {
  const { buffer, base, stride, offset, load } = columns;
  const [number, quad] = [columnNumber(tile, t), quadNumber(tile, chunk)];
  const source = load?.(number, quad) ?? `${buffer}[${base} + ${number} * ${stride}u + ${offset}u + ${quad}]`;
  return unroll(
    copiesOf(tile, columns),
    (step) => `{ ${copyPlace(tile, columns, step).text} ${name}${step} = ${source}; }`,
  );
}

const variables = (count: number, name: string): string => unroll(count, (step) => `var ${name}${step}: vec4f;`, ' ');

/** Writes them to workgroup memory. */
function writeColumns(tile: Tile, columns: Columns, t: string, chunk: string, name: string): string {
  const { stored = (x: string) => x, mend = () => '' } = columns;
  const count = copiesOf(tile, columns);
  const write = (step: number): string => {
    const { text, isAll } = copyPlace(tile, columns, step);
    const value = stored(`${name}${step}`, columnNumber(tile, t), quadNumber(tile, chunk));
    const all = `{ ${text} staged[column % 4u][${tile.threadsX === 1 ? '0' : 'column / 4u'}][c] = ${value}; }`;
    const total = blockColumnsOf(tile) * Math.min(tile.chunk, columns.width);
    return isAll ? all : `if (tid < ${total - step * threadsOf(tile)}u) ${all}`;
  };
  return `
  ${mend(Array.from({ length: count }, (_, step) => `${name}${step}`))}
  ${unroll(count, write)}`;
}

/**
 * Copies chunk `chunk` (an expression) of the columns of tile `t` into workgroup memory. All of a thread's quads are asked for before
 * any is needed: what is done to them may be branches, across which a compiler does not move loads.
 */
const copyColumns = (tile: Tile, columns: Columns, chunk: string): string => `{
    ${variables(copiesOf(tile, columns), 'x')}
    ${readColumns(tile, columns, 't', chunk, 'x')}
    ${writeColumns(tile, columns, 't', chunk, 'x')}
  }`;

/** Registers for columns that are read ahead: more quads than these cost more than waiting for them. */
const MOST_AHEAD = 4;

/** Whether the columns of the next tile can be read while those of one are in use. */
export const canReadAhead = (tile: Tile, columns: Columns): boolean =>
  !isMatrixTile(tile) && columns.width <= tile.chunk && copiesOf(tile, columns) <= MOST_AHEAD;

/** Declares what columns are read ahead into. */
export const declareAhead = (tile: Tile, columns: Columns): string => variables(copiesOf(tile, columns), 'ahead');

/** Reads the columns of tile `t`, an expression, ahead. */
export const readAhead = (tile: Tile, columns: Columns, t: string): string =>
  readColumns(tile, columns, t, '0u', 'ahead');

/** Stages chunk `chunk` (an expression) of the columns of tile `t`; barriers on both sides. */
const stage = (tile: Tile, columns: Columns, chunk: string): string => `
  workgroupBarrier();
  ${copyColumns(tile, columns, chunk)}
  workgroupBarrier();`;

const chunksOf = (tile: Tile, { width }: Columns): number => Math.ceil(width / tile.chunk);

/**
 * Begins to stage the columns that are accumulated next, without a barrier behind: they come from storage while weights are
 * computed. `isStaged`: the last chunk is staged, which of a single one is all. For matrices it comes behind products: then nobody reads
 * columns any more.
 */
export function stageAhead(tile: Tile, columns: Columns, isStaged: boolean): string {
  if (isMatrixTile(tile)) return isStaged || tile.buffers !== undefined ? '' : stageHalves(tile, columns);
  if (isStaged && chunksOf(tile, columns) === 1) return '';
  return `workgroupBarrier();\n${copyColumns(tile, columns, '0u')}`;
}

/** Numbers `name{i}_{j}`, one per row and column of a thread, set to zero. */
export const declareProducts = (tile: Tile, name: string): string =>
  perRow(tile, (i) => unroll(4 * tile.quads, (j) => `var ${name}${i}_${j} = 0.0;`, ' '));

/**
 * `text('0u') text('1u') ...`, unrolled `each` at a time within a loop. Everything unrolled lets the compiler load far
 * ahead, which a kernel with many numbers per thread pays for in spilled registers. The loop's step is 1, for which
 * Dawn's compiler proves that indices stay within their arrays.
 */
function turns(count: number, each: number, text: (at: string) => string): string {
  if (each >= count) return unroll(count, (at) => text(`${at}u`));
  const turn = unroll(each, (at) => text(`(turn * ${each}u + ${at}u)`));
  return `for (var turn = 0u; turn < ${count / each}u; turn++) { ${turn} }`;
}

/** Adds the products of the rows' vectors with the staged chunk of the columns' to `name{i}_{j}`. */
function addProducts(tile: Tile, name: string, row: RowQuad, width: number, chunk: string): string {
  const quads = Math.min(tile.chunk, width);
  const term = (i: number, j: number): string => {
    const product = `${name}${i}_${j}`;
    return `${product} = fma(u.x, k${j}.x, fma(u.y, k${j}.y, fma(u.z, k${j}.z, fma(u.w, k${j}.w, ${product}))));`;
  };
  return turns(
    quads,
    tile.unrolledQuads,
    (c) => `{
    ${unroll(4, (j) => `let k${j} = staged[${j}][tx][${c}];`, ' ')}
    ${perRow(tile, (i) => `{ let u = ${row(i, `${chunk} * ${tile.chunk}u + ${c}`)}; ${unroll(4, (j) => term(i, j), ' ')} }`)}
  }`,
  );
}

/**
 * Makes the vectors of rows, `width` quads each, ready for products under the name `name`, before the loop over tiles. In
 * float32 they are read where they are needed.
 */
export const operand = (tile: Tile, { name, row, isSplit = false, unit }: Products, width: number): string => {
  if (!isMatrixTile(tile)) return '';
  return unit === undefined
    ? matrixOperand(tile, name, row, width, isSplit)
    : halfOperand(tile, name, row, width, unit);
};

/**
 * Products of rows with the columns of tile `t`, all sets of rows against one staging of the columns. Afterwards the
 * columns' last chunk is staged; if it is the only one, `accumulate` need not stage it again. `isAhead`: they were read ahead.
 */
export function products(tile: Tile, columns: Columns, sets: readonly Products[], isAhead = false): string {
  const chunks = chunksOf(tile, columns);
  const staging = (chunk: string): string =>
    isAhead
      ? `workgroupBarrier();\n${writeColumns(tile, columns, 't', chunk, 'ahead')}\nworkgroupBarrier();`
      : stage(tile, columns, chunk);
  const body = (chunk: string): string => `
  ${staging(chunk)}
  ${sets.map(({ name, row }) => addProducts(tile, name, row, columns.width, chunk)).join('\n')}`;
  const declared = sets.map(({ name }) => declareProducts(tile, name)).join('\n');
  if (isMatrixTile(tile)) return `${declared}\n${matrixProducts(tile, columns, sets)}`;
  if (chunks === 1) return `${declared}\n${body('0u')}`;
  return `${declared}\nfor (var chunk = 0u; chunk < ${chunks}u; chunk++) { ${body('chunk')} }`;
}

/** A loop `t` over the tiles of columns below `count`, whose columns `sets` some tiles of matrices stage together. */
export const overColumns = (tile: Tile, sets: readonly Columns[], count: string, body: string): string =>
  isMatrixTile(tile) && tile.buffers !== undefined
    ? loopOverColumns(tile, sets, { first: '0u', count }, body)
    : `for (var t = 0u; t < ${count}; t++) { ${body} }`;

/** In such a loop, before the last barrier of its body: writes the columns of the next tile where there is room for two. */
export const stageNext = (tile: Tile, sets: readonly Columns[], extra?: StagedExtra): string =>
  isMatrixTile(tile) ? stageNextHalves(tile, sets, extra) : '';

/** Has matrices' threads read the products `name` with columns again, the last that were made; float32 ones still have them. */
export const productsAgain = (tile: Tile, name: string, columns: Columns): string =>
  isMatrixTile(tile) ? readProducts(tile, columns, { name }) : '';

/** Accumulators `name{i}_{g}`, `width` quads a row, spread over the threads of the row. */
export const declareAccumulator = (tile: Tile, name: string, width: number): string => `
  ${perGroup(tile, width, (i, g) => `var ${name}${i}_${g} = vec4f();`)}
  ${isMatrixTile(tile) ? declareSums(name, width) : ''}`;

/** The same set to zero again. */
export const clearAccumulator = (tile: Tile, name: string, width: number): string =>
  isMatrixTile(tile) ? clearMatrices(name, width) : perGroup(tile, width, (i, g) => `${name}${i}_${g} = vec4f();`);

/**
 * Makes `name{i}_{g}` what was accumulated, behind the loop over tiles: matrices sum in units, `factor`, of the weights'
 * and the columns'.
 */
export const readAccumulator = (tile: Tile, name: string, width: number, factor: string): string =>
  isMatrixTile(tile) ? readSums(tile, name, width, factor) : '';

/** Multiplies an accumulator within the loop by `factor(i)`. */
export const scaleAccumulator = (tile: Tile, name: string, width: number, factor: (i: number) => string): string =>
  isMatrixTile(tile)
    ? scaleSums(tile, name, width, factor(0))
    : perGroup(tile, width, (i, g) => `${name}${i}_${g} *= ${factor(i)};`);

/** Writes `value(i, q)`, quads over a thread's columns, to `weights`; matrices take them in units, an expression. */
export const storeWeights = (tile: Tile, value: (i: number, q: number) => string, unit = '1.0'): string =>
  isMatrixTile(tile) ? storeHalves(tile, value, unit) : perRow(tile, (i) => `weights[${i}][ty][tx] = ${value(i, 0)};`);

/**
 * `name += weights x columns` for tile `t`, with a barrier behind the writing of `weights`. `isStaged`: if the columns have
 * one chunk only, it is staged already. `isAhead`: behind `stageAhead` and a barrier behind the weights.
 */
export function accumulate(tile: Tile, name: string, columns: Columns, isStaged: boolean, isAhead = false): string {
  if (isMatrixTile(tile)) {
    return matrixAccumulate(tile, name, columns, isStaged || isAhead || tile.buffers !== undefined, isAhead);
  }
  const chunks = chunksOf(tile, columns);
  const { threadsX } = tile;
  return unroll(chunks, (chunk) => {
    const quads = Math.min(tile.chunk, columns.width - chunk * tile.chunk);
    const groups = quads / threadsX;
    const first = (chunk * tile.chunk) / threadsX;
    const term = (i: number, g: number): string => {
      const sum = `${name}${i}_${first + g}`;
      const last = `fma(vec4f(p.w), column3_${g}, ${sum})`;
      return `${sum} = fma(vec4f(p.x), column0_${g}, fma(vec4f(p.y), column1_${g}, fma(vec4f(p.z), column2_${g}, ${last})));`;
    };
    const quad = (a: string): string => `{
    ${unroll(4, (b) => unroll(groups, (g) => `let column${b}_${g} = staged[${b}][${a}][tx + ${threadsX * g}u];`, ' '))}
    ${perRow(tile, (i) => `{ let p = weights[${i}][ty][${a}]; ${unroll(groups, (g) => term(i, g), ' ')} }`)}
  }`;
    const isThere = isStaged && chunks === 1;
    const staging = isAhead && chunk === 0 ? '' : isThere ? 'workgroupBarrier();' : stage(tile, columns, `${chunk}u`);
    return `${staging}\n${turns(threadsX, tile.unrolledColumns, quad)}`;
  });
}

/** Stores `value(i, q)` as weights, behind a barrier, and adds their products with columns, which come meanwhile, to `name`. */
export const accumulateWeights = (
  tile: Tile,
  name: string,
  value: (i: number, q: number) => string,
  columns: Columns,
): string => `
  ${stageAhead(tile, columns, false)}
  ${storeWeights(tile, value)}
  workgroupBarrier();
  ${accumulate(tile, name, columns, false, true)}`;

/**
 * A thread's place in the tile of 8 threads a row. Bits of its number belong to columns and rows in turn, x y x y x y y:
 * a warp's load of 16 bytes a thread takes half the time where threads whose numbers differ in the lowest bit, or in the second, read the same
 * place, and so both do: those of one column's vectors and those of one row's. Two rows must not lie a multiple of 128 bytes
 * apart (`vectorStride`), else they are read one after the other.
 */
const PLACE = `
  let tx = tid % 2u + 2u * (tid / 4u % 2u) + 4u * (tid / 16u % 2u);
  let ty = tid / 2u % 2u + 2u * (tid / 8u % 2u) + 4u * (tid / 32u);`;

/** `entry point ... {` with the thread's place in the tile. */
export function mainHead(tile: Tile): string {
  return `
@compute @workgroup_size(${threadsOf(tile)})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  ${isMatrixTile(tile) ? matrixPlace(tile.matrices) : PLACE}`;
}
