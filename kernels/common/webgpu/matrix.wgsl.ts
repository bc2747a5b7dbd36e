import { BLOCK, type Matrices, SUBGROUP } from './matrices.js';
import { unroll } from './shader.js';

/*
 * Matrices of half-precision numbers in workgroup memory, and their products: the few texts that know whether a device has
 * units for them. `Left` and `Right` are operands, `Sum` holds float32 sums; each belongs to a subgroup. `Half4` is a
 * quad of half-precision numbers as it lies in memory.
 */

/** What stands before all declarations of a shader with matrices. */
export const matrixDirectives = (matrices: Matrices): string =>
  matrices === 'emulated'
    ? ''
    : `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
diagnostic(off, subgroup_uniformity);
alias Half4 = vec4<f16>;`;

/** Element of a storage buffer of quads of half-precision numbers. */
export const halfElement = (matrices: Matrices): string => (matrices === 'emulated' ? 'vec2u' : 'vec4<f16>');

/**
 * `half(x)`: float32 numbers rounded to the 11 digits of half precision, at any magnitude. By bits: compilers of devices
 * take a conversion to half precision and back for nothing, and sums would then be those of other numbers than the products.
 * Halfway it rounds up, which takes two operations instead of five.
 */
export const HALF = `
fn half(x: vec4f) -> vec4f {
  let bits = bitcast<vec4u>(x);
  return bitcast<vec4f>((bits + vec4u(0x1000u)) & vec4u(0xffffe000u));
}
fn packHalves(x: vec4f) -> vec2u { return vec2u(pack2x16float(x.xy), pack2x16float(x.zw)); }
fn unpackHalves(x: vec2u) -> vec4f { return vec4f(unpack2x16float(x.x), unpack2x16float(x.y)); }`;

/** The least power of two above a number, between 2^-62 and 2^62, and its inverse: both exact, unlike a quotient. */
export const UNITS = `
fn unitAbove(x: f32) -> f32 { return bitcast<f32>(clamp((bitcast<u32>(x) & 0x7f800000u) + 0x00800000u, 0x20800000u, 0x5e800000u)); }
fn inverseOf(unit: f32) -> f32 { return bitcast<f32>(0x7f000000u - bitcast<u32>(unit)); }`;

/** Types and functions of matrices. `staged` and `halves`, arrays of `Half4`, and `scores`, one of `vec4f`, are the workgroup's. */
export function declareMatrices(matrices: Matrices): string {
  const common = `${HALF}\n${UNITS}`;
  if (matrices === 'hardware') {
    const matrix = (kind: string, type: string): string => `subgroup_matrix_${kind}<${type}, ${BLOCK}, ${BLOCK}>`;
    return `
alias Left = ${matrix('left', 'f16')};
alias Right = ${matrix('right', 'f16')};
alias Sum = ${matrix('result', 'f32')};
${common}
fn toHalf4(x: vec4f) -> Half4 { return vec4<f16>(x); }`;
  }
  return `
alias Half4 = vec2u;
alias Left = array<f32, ${BLOCK}>;
alias Sum = array<f32, ${BLOCK / 2}>;
struct Right { offset: u32, stride: u32, isTransposed: bool }
var<private> lane: u32;
${common}
fn toHalf4(x: vec4f) -> Half4 { return packHalves(half(x)); }
fn loadLeft(offset: u32, stride: u32) -> Left {
  var row: Left;
  for (var c = 0u; c < ${BLOCK / 4}u; c++) {
    let x = unpackHalves(halves[offset + (lane % ${BLOCK}u) * stride + c]);
    for (var e = 0u; e < 4u; e++) { row[4u * c + e] = x[e]; }
  }
  return row;
}
fn rightAt(right: Right, k: u32, c: u32) -> f32 {
  let row = select(k, c, right.isTransposed);
  let column = select(c, k, right.isTransposed);
  return unpackHalves(staged[right.offset + row * right.stride + column / 4u])[column % 4u];
}
fn multiplyAdd(left: Left, right: Right, sum: Sum) -> Sum {
  var result = sum;
  for (var e = 0u; e < ${BLOCK / 2}u; e++) {
    for (var k = 0u; k < ${BLOCK}u; k++) {
      result[e] += left[k] * rightAt(right, k, (lane / ${BLOCK}u) * ${BLOCK / 2}u + e);
    }
  }
  return result;
}
fn loadSum(offset: u32, stride: u32) -> Sum {
  var sum: Sum;
  for (var e = 0u; e < ${BLOCK / 2}u; e++) {
    sum[e] = scores[offset + (lane % ${BLOCK}u) * stride + (lane / ${BLOCK}u) * ${BLOCK / 8}u + e / 4u][e % 4u];
  }
  return sum;
}
fn storeSum(offset: u32, sum: Sum, stride: u32) {
  var own = sum;
  for (var e = 0u; e < ${BLOCK / 2}u; e++) {
    scores[offset + (lane % ${BLOCK}u) * stride + (lane / ${BLOCK}u) * ${BLOCK / 8}u + e / 4u][e % 4u] = own[e];
  }
}`;
}

/** Expressions and statements for one subgroup; offsets and strides are expressions that count quads. */
export interface MatrixText {
  /** A block of `halves` as a left operand. */
  readonly left: (offset: string, stride: number) => string;
  /** A block of `staged` as a right operand: its rows are summed over, or, transposed, its columns. */
  readonly right: (offset: string, stride: number, isTransposed: boolean) => string;
  readonly multiplyAdd: (left: string, right: string, sum: string) => string;
  /** A block of `scores` as sums, and the reverse. */
  readonly loadSum: (offset: string, stride: number) => string;
  readonly storeSum: (offset: string, sum: string, stride: number) => string;
}

const hardware: MatrixText = {
  left: (offset, stride) => `subgroupMatrixLoad<Left, row_major>(&halves, ${offset}, ${stride}u)`,
  right: (offset, stride, isTransposed) =>
    `subgroupMatrixLoad<Right, ${isTransposed ? 'col' : 'row'}_major>(&staged, ${offset}, ${stride}u)`,
  multiplyAdd: (left, right, sum) => `subgroupMatrixMultiplyAccumulate(${left}, ${right}, ${sum})`,
  loadSum: (offset, stride) => `subgroupMatrixLoad<Sum, row_major>(&scores, ${offset}, ${stride}u)`,
  storeSum: (offset, sum, stride) => `subgroupMatrixStore<row_major>(&scores, ${offset}, ${sum}, ${stride}u);`,
};

const emulated: MatrixText = {
  left: (offset, stride) => `loadLeft(${offset}, ${stride}u)`,
  right: (offset, stride, isTransposed) => `Right(${offset}, ${stride}u, ${isTransposed})`,
  multiplyAdd: (left, right, sum) => `multiplyAdd(${left}, ${right}, ${sum})`,
  loadSum: (offset, stride) => `loadSum(${offset}, ${stride}u)`,
  storeSum: (offset, sum, stride) => `storeSum(${offset}, ${sum}, ${stride}u);`,
};

export const matrixText = (matrices: Matrices): MatrixText => (matrices === 'hardware' ? hardware : emulated);

/**
 * A thread's place: two neighbours own a row, so that eight threads take two quads of four rows each: the padding of the rows
 * (matrix_tile.wgsl.ts) keeps that free of conflicts, as it does what matrices load and store.
 */
export const matrixPlace = (matrices: Matrices): string => `
  ${matrices === 'emulated' ? `lane = tid % ${SUBGROUP}u;` : ''}
  let tx = tid % 2u;
  let ty = tid / 2u;`;

/** Combines `name` over the two threads of a row. */
export const combinePair = (name: string, operation: 'sum' | 'max'): string =>
  operation === 'sum'
    ? `${name} += subgroupShuffleXor(${name}, 1u);`
    : `${name} = max(${name}, subgroupShuffleXor(${name}, 1u));`;

/** `text` for every block of a row of `width` quads. */
export const perBlock = (width: number, text: (block: number) => string, separator = '\n'): string =>
  unroll(width / (BLOCK / 4), text, separator);
