import type { Matrices } from './matrices.js';
import { unroll } from './shader.js';

/**
 * The shape of a tile: `blockRows` rows that a workgroup owns against `blockColumns` columns at a time. In a forward
 * kernel rows are queries and columns keys; in the pass over keys of a gradient it is the other way around.
 *
 * Threads form a grid, `threadsX` along the columns and `threadsY` along the rows. Thread `(tx, ty)` owns rows
 * `ty + threadsY i` for `i < rows`, and of every tile the quads of columns `tx + threadsX q` for `q < quads`.
 */
export interface Tile {
  readonly threadsX: number;
  readonly threadsY: number;
  /** Rows of one thread. */
  readonly rows: number;
  /** Quads of a tile's columns of one thread. */
  readonly quads: number;
  /** Quads (four numbers) of a column's vector that are staged at a time. */
  readonly chunk: number;
  /** Quads of the staged vectors that are multiplied per turn of a loop; the turn is unrolled. */
  readonly unrolledQuads: number;
  /** Quads of columns that are accumulated per turn of a loop. */
  readonly unrolledColumns: number;
  /** By what a tile's products are made of half-precision operands; float32 throughout where it is absent. */
  readonly matrices?: Matrices;
  /** How many sets of columns matrices have staged at a time, and of how many products and weights there is room for; one if absent. */
  readonly regions?: number;
  readonly areas?: number;
  /**
   * For how many tiles there is room among the staged columns, where a loop stages all that a tile takes (`overColumns`): with two the
   * next tile's come meanwhile. Absent: columns are staged where they are multiplied.
   */
  readonly buffers?: number;
}

export const threadsOf = ({ threadsX, threadsY }: Tile): number => threadsX * threadsY;
export const blockRowsOf = ({ threadsY, rows }: Tile): number => threadsY * rows;
export const blockColumnsOf = ({ threadsX, quads }: Tile): number => 4 * threadsX * quads;

/** Text that stands once per row of a thread. */
export const perRow = ({ rows }: Tile, text: (i: number) => string, separator = '\n'): string =>
  unroll(rows, text, separator);

/** Text that stands once per row of a thread and quad of its columns. */
export const perQuad = (tile: Tile, text: (i: number, q: number) => string, separator = '\n'): string =>
  perRow(tile, (i) => unroll(tile.quads, (q) => text(i, q), separator), separator);

/** A buffer of vectors, one per column: where column 0 begins and how far columns lie apart, in quads. */
export interface Columns {
  readonly buffer: string;
  /** Expression: index of the first quad of column 0 of the head. */
  readonly base: string;
  readonly stride: number;
  readonly offset: number;
  /** Quads of a vector. */
  readonly width: number;
  /** Expression: quad `c` of column `j` of the head, both expressions, where it is not simply read from `buffer`. */
  readonly load?: (j: string, c: string) => string;
  /** Expression: what is staged of a quad `x` that was read. */
  readonly stored?: (x: string, j: string, c: string) => string;
  /** Statement that mends the quads that a thread has read, variables, before they are staged. */
  readonly mend?: (quads: readonly string[]) => string;
  /** Expression: what the numbers of the buffer are multiples of, where it holds half-precision ones. */
  readonly unit?: string;
  /**
   * Which of the staged sets these columns are for matrices, where several are staged together (`overColumns`).
   */
  readonly region?: number;
}

/** The vectors of a thread's rows, as an expression for quad `c` (itself an expression) of row `i`. */
export type RowQuad = (i: number, c: string) => string;

/** One set of row vectors to be multiplied with the same columns. */
export interface Products {
  readonly name: string;
  readonly row: RowQuad;
  /** Whether half-precision operands are sums of two: 22 binary digits instead of 11. */
  readonly isSplit?: boolean;
  /** Expression: what the vectors' numbers are multiples of, where they are of half precision already. */
  readonly unit?: string;
  /** The operand that the vectors were made under, where it is not `name`. */
  readonly operand?: string;
}

/** Rows, an operand, that matrices multiply with columns. */
export interface ProductPart {
  readonly operand: string;
  readonly columns: Columns;
  readonly isSplit?: boolean;
}

/** Products `name{i}_{j}` that matrices make of staged columns: a sum of parts that are in one unit. */
export interface StagedProducts {
  readonly name: string;
  readonly parts: readonly ProductPart[];
  /** Expression: what the sums are multiples of. */
  readonly unit: string;
}

/** Rows that are to be multiplied with columns of their own. */
export interface ColumnProducts {
  readonly columns: Columns;
  readonly set: Products;
}

/** Weights and what is to be added to an accumulator times them. */
export interface WeightedColumns {
  readonly name: string;
  readonly columns: Columns;
  readonly value: (i: number, q: number) => string;
}

/** What a loop over tiles stages besides columns: statements that ask for those of tile `t`, an expression, and that write them. */
export interface StagedExtra {
  readonly ask: (t: string) => string;
  readonly write: (buffer: string) => string;
}

/** Quads of a row's accumulator that a thread owns: columns `tx + threadsX g`. */
export const groupsOf = (tile: Tile, width: number): number => width / tile.threadsX;

/** Text that stands once per row of a thread and quad of an accumulator of `width` quads. */
export const perGroup = (tile: Tile, width: number, text: (i: number, g: number) => string): string =>
  perRow(tile, (i) => unroll(groupsOf(tile, width), (g) => text(i, g), ' '));

/** Products `name{i}_{j}` of quad `q` of a thread's columns, as a quad. */
export const quadOf = (name: string, i: number, q = 0): string =>
  `vec4f(${unroll(4, (j) => `${name}${i}_${4 * q + j}`, ', ')})`;

/** The sum of the numbers of `name{i}_{q}` over a thread's columns. */
export const sumOfQuads = ({ quads }: Tile, name: string, i: number): string =>
  unroll(quads, (q) => ['x', 'y', 'z', 'w'].map((part) => `${name}${i}_${q}.${part}`).join(' + '), ' + ');
