import { unroll } from './shader.js';

/**
 * The shape of a tile: `blockRows` rows that a workgroup owns against `blockColumns` columns at a time. In a forward
 * kernel rows are queries and columns keys; in the pass over keys of a gradient it is the other way around.
 *
 * Threads form a grid, `threadsX` along the columns and `threadsY` along the rows. Thread `(tx, ty)` owns rows
 * `ty + threadsY i` for `i < rows`, and of every tile columns `4 tx .. 4 tx + 3`.
 */
export interface Tile {
  readonly threadsX: number;
  readonly threadsY: number;
  /** Rows of one thread. */
  readonly rows: number;
  /** Quads (four numbers) of a column's vector that are staged at a time. */
  readonly chunk: number;
  /**
   * Steps of a product that stand in the text one after the other, of a loop over all of them; absent: all, which is
   * fastest by some per cent. A kernel of many products would be too long to compile, and for a device's cache.
   */
  readonly unrolled?: number;
}

export const threadsOf = ({ threadsX, threadsY }: Tile): number => threadsX * threadsY;
export const blockRowsOf = ({ threadsY, rows }: Tile): number => threadsY * rows;
export const blockColumnsOf = ({ threadsX }: Tile): number => 4 * threadsX;

/** Columns of the array in which threads exchange numbers of a row. */
const reductionBytes = (tile: Tile): number => 4 * blockRowsOf(tile) * tile.threadsX;

/**
 * Workgroup memory of `declareTile`. With 8 x 8 threads of 4 rows and chunks of 16 quads: staged columns
 * 16 * 32 * 17 = 8.5 KiB, weights 16 * 32 * 9 = 4.5 KiB, reductions 1 KiB, 32 bytes of flags: below the 16 KiB that every device has.
 */
export function tileBytes(tile: Tile): number {
  const staged = 16 * blockColumnsOf(tile) * (tile.chunk + 1);
  const weights = 16 * blockRowsOf(tile) * (tile.threadsX + 1);
  return staged + weights + reductionBytes(tile) + 32;
}

/**
 * `staged`: a chunk of the columns' vectors; column `4a + b` lies at `[b][a]`, so that the threads of a row, which read
 * columns `4 tx + b`, read rows of 17 quads next to each other: no two in the same bank. `weights`: a row's numbers per
 * column, four columns a quad. Both have a quad of padding.
 */
export function declareTile(tile: Tile): string {
  const { threadsX, threadsY, rows, chunk } = tile;
  return `
var<workgroup> staged: array<array<array<vec4f, ${chunk + 1}>, ${threadsX}>, 4>;
var<workgroup> weights: array<array<array<vec4f, ${threadsX + 1}>, ${threadsY}>, ${rows}>;
var<workgroup> reduction: array<array<f32, ${threadsX}>, ${blockRowsOf(tile)}>;
var<workgroup> flag: vec4u;
var<workgroup> shared_number: vec4u;`;
}

/** `text(0) text(1) ...`, or a loop over it where the tile says so. */
function steps({ unrolled }: Tile, count: number, text: (step: string) => string): string {
  if (unrolled === undefined || unrolled >= count) return unroll(count, (step) => text(`${step}u`));
  const body = unroll(unrolled, (e) => text(`(step * ${unrolled}u + ${e}u)`));
  return `for (var step = 0u; step < ${count / unrolled}u; step++) {\n${body}\n}`;
}

/** Text that stands once per row of a thread. */
export const perRow = ({ rows }: Tile, text: (i: number) => string, separator = '\n'): string =>
  unroll(rows, text, separator);

/** A buffer of vectors, one per column: where column 0 begins and how far columns lie apart, in quads. */
export interface Columns {
  readonly buffer: string;
  /** Expression: index of the first quad of column 0 of the head. */
  readonly base: string;
  readonly stride: number;
  readonly offset: number;
  /** Quads of a vector. */
  readonly width: number;
}

/** Stages chunk `chunk` (an expression) of the columns of tile `t`; barriers on both sides. */
export function stage(tile: Tile, columns: Columns, chunk: string): string {
  const { threadsX } = tile;
  const quads = Math.min(tile.chunk, columns.width);
  const total = blockColumnsOf(tile) * quads;
  const threads = threadsOf(tile);
  const copy = (step: number): string => {
    const isPartial = (step + 1) * threads > total;
    const text = `{ let at = tid + ${step * threads}u; let column = at / ${quads}u; let c = at % ${quads}u;
      staged[column % 4u][${threadsX === 1 ? '0' : 'column / 4u'}][c] =
        ${columns.buffer}[${columns.base} + (t * ${blockColumnsOf(tile)}u + column) * ${columns.stride}u + ${columns.offset}u + ${chunk} * ${tile.chunk}u + c]; }`;
    return isPartial ? `if (tid < ${total - step * threads}u) ${text}` : text;
  };
  return `
  workgroupBarrier();
  ${unroll(Math.ceil(total / threads), copy)}
  workgroupBarrier();`;
}

/** Numbers `name{i}_{j}`, one per row and column of a thread, set to zero. */
export const declareProducts = (tile: Tile, name: string): string =>
  perRow(tile, (i) => unroll(4, (j) => `var ${name}${i}_${j} = 0.0;`, ' '));

/** The vectors of a thread's rows, as an expression for quad `c` (itself an expression) of row `i`. */
export type RowQuad = (i: number, c: string) => string;

/** Adds the products of the rows' vectors with the staged chunk of the columns' to `name{i}_{j}`. */
function addProducts(tile: Tile, name: string, row: RowQuad, width: number, chunk: string): string {
  const quads = Math.min(tile.chunk, width);
  const term = (i: number, j: number): string => {
    const product = `${name}${i}_${j}`;
    return `${product} = fma(u.x, k${j}.x, fma(u.y, k${j}.y, fma(u.z, k${j}.z, fma(u.w, k${j}.w, ${product}))));`;
  };
  return steps(
    tile,
    quads,
    (c) => `{
    ${unroll(4, (j) => `let k${j} = staged[${j}][tx][${c}];`, ' ')}
    ${perRow(tile, (i) => `{ let u = ${row(i, `${chunk} * ${tile.chunk}u + ${c}`)}; ${unroll(4, (j) => term(i, j), ' ')} }`)}
  }`,
  );
}

/** One set of row vectors to be multiplied with the same columns. */
export interface Products {
  readonly name: string;
  readonly row: RowQuad;
}

/**
 * Products of rows with the columns of tile `t`, all sets of rows against one staging of the columns. Afterwards the
 * columns' last chunk is staged; if it is the only one, `accumulate` need not stage it again.
 */
export function products(tile: Tile, columns: Columns, sets: readonly Products[]): string {
  const chunks = Math.ceil(columns.width / tile.chunk);
  const body = (chunk: string): string => `
  ${stage(tile, columns, chunk)}
  ${sets.map(({ name, row }) => addProducts(tile, name, row, columns.width, chunk)).join('\n')}`;
  const declared = sets.map(({ name }) => declareProducts(tile, name)).join('\n');
  if (chunks === 1) return `${declared}\n${body('0u')}`;
  return `${declared}\nfor (var chunk = 0u; chunk < ${chunks}u; chunk++) { ${body('chunk')} }`;
}

/** Quads of a row's accumulator that a thread owns: columns `tx + threadsX g`. */
export const groupsOf = (tile: Tile, width: number): number => width / tile.threadsX;

/** Accumulators `name{i}_{g}`, `width` quads a row, spread over the threads of the row. */
export const declareAccumulator = (tile: Tile, name: string, width: number): string =>
  perRow(tile, (i) => unroll(groupsOf(tile, width), (g) => `var ${name}${i}_${g} = vec4f();`, ' '));

/** The same set to zero again. */
export const clearAccumulator = (tile: Tile, name: string, width: number): string =>
  perRow(tile, (i) => unroll(groupsOf(tile, width), (g) => `${name}${i}_${g} = vec4f();`, ' '));

/** Writes `value(i)`, a quad over a thread's columns, to `weights`. */
export const storeWeights = (tile: Tile, value: (i: number) => string): string =>
  perRow(tile, (i) => `weights[${i}][ty][tx] = ${value(i)};`);

/**
 * `name += weights x columns` for tile `t`, with a barrier behind the writing of `weights`. `isStaged`: if the columns have
 * one chunk only, it is staged already.
 */
export function accumulate(tile: Tile, name: string, columns: Columns, isStaged: boolean): string {
  const chunks = Math.ceil(columns.width / tile.chunk);
  const { threadsX } = tile;
  return unroll(chunks, (chunk) => {
    const quads = Math.min(tile.chunk, columns.width - chunk * tile.chunk);
    const groups = quads / threadsX;
    const first = (chunk * tile.chunk) / threadsX;
    const term = (i: number, g: number): string => {
      const sum = `${name}${i}_${first + g}`;
      const last = `fma(vec4f(p.w), v3_${g}, ${sum})`;
      return `${sum} = fma(vec4f(p.x), v0_${g}, fma(vec4f(p.y), v1_${g}, fma(vec4f(p.z), v2_${g}, ${last})));`;
    };
    const quad = (a: string): string => `{
    ${unroll(4, (b) => unroll(groups, (g) => `let v${b}_${g} = staged[${b}][${a}][tx + ${threadsX * g}u];`, ' '))}
    ${perRow(tile, (i) => `{ let p = weights[${i}][ty][${a}]; ${unroll(groups, (g) => term(i, g), ' ')} }`)}
  }`;
    const staging = isStaged && chunks === 1 ? 'workgroupBarrier();' : stage(tile, columns, `${chunk}u`);
    return `${staging}\n${steps(tile, threadsX, quad)}`;
  });
}

/** Combines `name{i}` over the threads of each row, for every name; all of them get the result. */
export function reduceRows(tile: Tile, names: readonly string[], operation: 'sum' | 'max'): string {
  const { threadsX, threadsY } = tile;
  const at = (i: number, x: string | number): string => `reduction[ty + ${threadsY * i}u][${x}]`;
  const combined = (i: number): string => {
    const all = Array.from({ length: threadsX }, (_, x) => at(i, x));
    return operation === 'sum' ? all.join(' + ') : all.reduce((a, b) => `max(${a}, ${b})`);
  };
  return names
    .map(
      (name) => `
  ${perRow(tile, (i) => `${at(i, 'tx')} = ${name}${i};`, ' ')}
  workgroupBarrier();
  ${perRow(tile, (i) => `${name}${i} = ${combined(i)};`)}
  workgroupBarrier();`,
    )
    .join('');
}

/** `name{i}_0, .. name{i}_3` as a quad over the thread's columns. */
export const quadOf = (name: string, i: number): string => `vec4f(${unroll(4, (j) => `${name}${i}_${j}`, ', ')})`;

/** `entry point ... {` with the thread's place in the tile. */
export function mainHead(tile: Tile): string {
  return `
@compute @workgroup_size(${threadsOf(tile)})
fn main(@builtin(local_invocation_index) tid: u32, @builtin(workgroup_id) workgroup: vec3u) {
  let tx = tid % ${tile.threadsX}u;
  let ty = tid / ${tile.threadsX}u;`;
}
