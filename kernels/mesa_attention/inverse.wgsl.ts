import { columnsOf } from '../common/webgpu/chunk_products.wgsl.js';
import type { Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { unroll } from '../common/webgpu/shader.js';
import {
  accumulate,
  type Columns,
  declareAccumulator,
  groupsOf,
  perRow,
  products,
  quadOf,
  storeWeights,
  threadsOf,
  type Tile,
} from '../common/webgpu/tile.wgsl.js';

/** Rows and columns of a block: 32 query rows, 32 keys, 32 channels, in all parts of the solver. */
export const BLOCK = 32;

/**
 * The tile of the solver: 32 rows by 32 columns, with no more accumulators a thread than it has registers for. Its dozen
 * products are loops.
 */
export const solverTile = (width: number): Tile =>
  width <= 64
    ? { threadsX: 8, threadsY: 8, rows: 4, quads: 1, chunk: 16, unrolledQuads: 2, unrolledColumns: 2 }
    : { threadsX: 8, threadsY: 16, rows: 2, quads: 1, chunk: 16, unrolledQuads: 2, unrolledColumns: 2 };

/** A matrix of rows of `width` quads in the storage buffer `buffer`, from the quad that `base` is an expression for. */
export const matrix = (buffer: string, base: string, width: number): Columns => ({
  buffer,
  base,
  stride: width,
  offset: 0,
  width,
});

/** Quad of a thread's row of block `block` (an expression) of a matrix. */
export const quadAt = (tile: Tile, { buffer, base, stride }: Columns, block: string, i: number, c: string): string =>
  `${buffer}[${base} + (${block} * ${BLOCK}u + ty + ${tile.threadsY * i}u) * ${stride}u + ${c}]`;

/** Barriers for storage and workgroup memory. */
export const BARRIERS = 'storageBarrier(); workgroupBarrier();';

/** Text per row and group of an accumulator. */
export const perGroup = (tile: Tile, width: number, text: (i: number, g: number) => string): string =>
  perRow(tile, (i) => unroll(groupsOf(tile, width), (g) => text(i, g)));

/** Number `e` (an expression) of a thread's row in `weights`, as a matrix of 32 by 32. */
const weightAt = (i: number, column: string): string => `weights[${i}][ty][${column} / 4u][${column} % 4u]`;

/** The quad of columns `4 tx ..` of row `row` (an expression) in `weights`. */
const weightRow = (tile: Tile, row: string): string =>
  `weights[${row} / ${tile.threadsY}u][${row} % ${tile.threadsY}u][tx]`;

/** `1` in the column `k` of a thread's quad. */
const UNIT = 'vec4f(vec4u(4u * tx) + vec4u(0u, 1u, 2u, 3u) == vec4u(k))';

/** Quads of a block's factor: `U^-1`, then one over the pivots. */
export const FACTOR_QUADS = BLOCK * (BLOCK / 4) + BLOCK / 4;

/**
 * `S = U diag(d) U^T` of a positive definite block `name{i}`, a quad of each of a thread's rows, with unit upper triangular
 * U: leaves `U^-1` in the matrix `factor`, and behind it one over the pivots; those below `smallestPivot` are rounding.
 * Elimination in place from the last pivot on, with rows above it only.
 */
export function factorBlock(tile: Tile, name: string, smallestPivot: string, factor: Columns): string {
  const { buffer, base } = factor;
  const columns = 'vec4u(4u * tx) + vec4u(0u, 1u, 2u, 3u)';
  const rowOf = (i: number): string => `(ty + ${tile.threadsY * i}u)`;
  const upper = (i: number): string => {
    const row = `vec4u(${rowOf(i)})`;
    return `select(select(vec4f(), ${name}${i}, ${columns} > ${row}), vec4f(1.0), ${columns} == ${row})`;
  };
  const pivot = (i: number): string => `if (tx == ${rowOf(i)} / 4u) {
      ${buffer}[${base} + ${BLOCK * (BLOCK / 4)}u + tx][${rowOf(i)} % 4u] = 1.0 / max(${name}${i}[${rowOf(i)} % 4u], ${smallestPivot});
    }`;
  const eliminate = (i: number): string => `if (ty + ${tile.threadsY * i}u < k) {
        ${name}${i} = ${name}${i} * (vec4f(1.0) - unit) - ${weightAt(i, 'k')} * inverse * pivotRow;
      }`;
  return `
    workgroupBarrier();
    ${storeWeights(tile, (i) => `${name}${i}`)}
    for (var last = ${BLOCK}u; last > 0u; last--) {
      let k = last - 1u;
      workgroupBarrier();
      let unit = ${UNIT};
      let inverse = 1.0 / max(${weightRow(tile, 'k').replace('[tx]', '[k / 4u][k % 4u]')}, ${smallestPivot});
      let pivotRow = ${weightRow(tile, 'k')} * (vec4f(1.0) - unit) + unit;
      ${perRow(tile, eliminate)}
      workgroupBarrier();
      ${storeWeights(tile, (i) => `${name}${i}`)}
    }
    ${perRow(tile, (i) => `${quadAt(tile, factor, '0u', i, 'tx')} = ${upper(i)};`)}
    ${perRow(tile, pivot)}
    ${BARRIERS}`;
}

/** `name`, the sum of a matrix's diagonal, to every thread. */
export function declareTrace(tile: Tile, name: string, { buffer, base, width }: Columns): string {
  const threads = threadsOf(tile);
  return `
    var ${name} = 0.0;
    for (var d = tid; d < ${4 * width}u; d += ${threads}u) { ${name} += ${buffer}[${base} + d * ${width}u + d / 4u][d % 4u]; }
    reduction[tid / 8u][tid % 8u] = ${name};
    workgroupBarrier();
    ${name} = 0.0;
    for (var other = 0u; other < ${threads}u; other++) { ${name} += reduction[other / 8u][other % 8u]; }
    workgroupBarrier();`;
}

/** Part of the system's mean diagonal below which float32 does not tell a ridge from rounding, 2^-14. */
const LEAST_RIDGE = '6.1e-5';

/**
 * Raises the ridge by `extraRidge` to what float32 can resolve. Solutions are corrected by residuals with the ridge itself,
 * so this costs accuracy only where there is none: directions that no key has, with a ridge that small.
 */
function raiseRidge(tile: Tile, system: Columns): string {
  const { buffer, base, width } = system;
  const diagonal = (d: string): string => `${buffer}[${base} + ${d} * ${width}u + ${d} / 4u][${d} % 4u]`;
  return `
    ${declareTrace(tile, 'trace', system)}
    let extraRidge = max(0.0, trace * ${LEAST_RIDGE} / ${4 * width}.0 - smallestRidge);
    let smallestPivot = smallestRidge + extraRidge;
    for (var d = tid; d < ${4 * width}u; d += ${threadsOf(tile)}u) { ${diagonal('d')} += extraRidge; }
    ${BARRIERS}`;
}

/**
 * Writes `H`, the state at `state` plus the ridge and, under `causal`, the keys of tiles `firstTile .. keyTile`, to
 * the matrix `inverse`. Channels that are padding have a ridge of 1.
 */
export function buildSystem(tile: Tile, key: Vectors, gram: Columns, inverse: Columns, isCausal: boolean): string {
  const { width } = key;
  const keyNumber = (i: number, e: number): string => {
    const channel = `(block * ${BLOCK}u + ty + ${tile.threadsY * i}u)`;
    return `preparedKey[(firstKey + ${e}u) * ${width}u + ${channel} / 4u][${channel} % 4u]`;
  };
  const addKeys = `
      for (var t = firstTile; t <= keyTile; t++) {
        let firstKey = head * params.Tkp + t * ${BLOCK}u + 4u * tx;
        workgroupBarrier();
        ${storeWeights(tile, (i) => `vec4f(${unroll(4, (e) => keyNumber(i, e), ', ')})`)}
        ${accumulate(tile, 'a', columnsOf('preparedKey', 'Tkp', key), false)}
      }`;
  const entry = (i: number, g: number): string => {
    const [row, column] = [`(block * ${BLOCK}u + ty + ${tile.threadsY * i}u)`, `(tx + ${tile.threadsX * g}u)`];
    const diagonal = `vec4f(vec4u(4u * ${column}) + vec4u(0u, 1u, 2u, 3u) == vec4u(${row}))`;
    return `a${i}_${g} = ${quadAt(tile, gram, 'block', i, column)} + ridgeQuad(head, ${column}) * ${diagonal};`;
  };
  return `
    for (var block = 0u; block < ${(4 * width) / BLOCK}u; block++) {
      ${declareAccumulator(tile, 'a', width)}
      ${perGroup(tile, width, entry)}
      ${isCausal ? addKeys : ''}
      ${perGroup(tile, width, (i, g) => `${quadAt(tile, inverse, 'block', i, `tx + ${tile.threadsX * g}u`)} = a${i}_${g};`)}
    }
    ${BARRIERS}
    ${raiseRidge(tile, inverse)}`;
}

/**
 * Replaces the symmetric positive definite matrix `inverse` by its inverse, in place: Gauss-Jordan elimination by blocks
 * of 32 channels. With `P` the inverse of the pivot block, its rows become `P A_k`, all others `A_i - A_ik P A_k`, where
 * the pivot's own columns count as those of a unit matrix.
 *
 * `P` itself, which may be as large as one over the ridge, would cost as many digits as the block's condition has.
 * `P = U^-T d^-1 U^-1` is applied factor by factor: `Y = U^-1 A_k`, `A_i - (A_ik U^-T) d^-1 Y`, `U^-T d^-1 Y`.
 */
export function invertMatrix(tile: Tile, inverse: Columns, factor: Columns): string {
  const { width } = inverse;
  const column = (g: number): string => `tx + ${tile.threadsX * g}u`;
  const load = (i: number, g: number): string =>
    `a${i}_${g} = select(${quadAt(tile, inverse, 'block', i, column(g))}, vec4f(), pivot == ${g}u);`;
  const store = (block: string) => (i: number, g: number) =>
    `${quadAt(tile, inverse, block, i, column(g))} = a${i}_${g};`;
  const pivotColumns = (i: number, c: string): string =>
    quadAt(tile, inverse, 'block', i, `pivot * ${BLOCK / 4}u + ${c}`);
  const transposed = (i: number, e: number): string => {
    const row = `(ty + ${tile.threadsY * i}u)`;
    return `${factor.buffer}[${factor.base} + (4u * tx + ${e}u) * ${BLOCK / 4}u + ${row} / 4u][${row} % 4u]`;
  };
  return `
    for (var pivot = 0u; pivot < ${(4 * width) / BLOCK}u; pivot++) {
      ${perRow(tile, (i) => `var p${i} = ${quadAt(tile, inverse, 'pivot', i, `pivot * ${BLOCK / 4}u + tx`)};`)}
      ${factorBlock(tile, 'p', 'smallestPivot', factor)}
      {
        let t = pivot;
        let pivots = ${factor.buffer}[${factor.base} + ${BLOCK * (BLOCK / 4)}u + tx];
        ${perRow(tile, (i) => `p${i} = ${quadAt(tile, factor, '0u', i, 'tx')};`)}
        ${storeWeights(tile, (i) => `p${i}`)}
        ${declareAccumulator(tile, 'a', width)}
        ${accumulate(tile, 'a', inverse, false)}
        ${BARRIERS}
        ${perGroup(tile, width, (i, g) => `if (pivot == ${g}u) { a${i}_${g} = p${i}; }`)}
        ${perGroup(tile, width, store('pivot'))}
        ${BARRIERS}
        for (var block = 0u; block < ${(4 * width) / BLOCK}u; block++) {
          if (block == pivot) { continue; }
          {
            let t = 0u;
            ${products(tile, factor, [{ name: 's', row: pivotColumns }])}
            workgroupBarrier();
            ${storeWeights(tile, (i) => `-${quadOf('s', i)} * pivots`)}
          }
          ${perGroup(tile, width, load)}
          ${accumulate(tile, 'a', inverse, false)}
          ${perGroup(tile, width, store('block'))}
        }
        workgroupBarrier();
        ${storeWeights(tile, (i) => `vec4f(${unroll(4, (e) => transposed(i, e), ', ')}) * pivots`)}
        ${perGroup(tile, width, (i, g) => `a${i}_${g} = vec4f();`)}
        ${accumulate(tile, 'a', inverse, false)}
        ${BARRIERS}
        ${perGroup(tile, width, store('pivot'))}
      }
      ${BARRIERS}
    }`;
}
