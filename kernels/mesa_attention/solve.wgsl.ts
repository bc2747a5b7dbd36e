import { columnsOf, stateColumns } from '../common/webgpu/chunk_products.wgsl.js';
import { stateQuads, type Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { type ParamType, type Shader, unroll } from '../common/webgpu/shader.js';
import {
  accumulate,
  type Columns,
  declareAccumulator,
  declareTile,
  mainHead,
  perRow,
  products,
  quadOf,
  reduceRows,
  storeWeights,
  threadsOf,
  type Tile,
  tileBytes,
} from '../common/webgpu/tile.wgsl.js';
import type { RidgeAccess } from './ridge.wgsl.js';
import {
  BARRIERS,
  BLOCK,
  buildSystem,
  declareTrace,
  FACTOR_QUADS,
  factorBlock,
  invertMatrix,
  matrix,
  perGroup,
  quadAt,
  solverTile,
} from './inverse.wgsl.js';

/** What the solver is made for: keys, and where the right-hand sides lie in the prepared rows. */
export interface SolverShape {
  readonly key: Vectors;
  /** Replaced by the solutions. */
  readonly right: Vectors;
  readonly isCausal: boolean;
  /** Right vectors of the sums over keys, of which the keys are the first. */
  readonly sums: Vectors;
}

/** Pivots of a block of keys below this are rounding: they are differences from 1. */
const SMALLEST_PIVOT = '3e-5';

/** Most corrections of a solution by its residual. Two are enough unless float32 has hardly a digit to give. */
const MOST_STEPS = 8;

/** A solution is done when a correction's square is below this part of its own: the next would be below 1e-7. */
const SMALL_CORRECTION = '1e-7';

/**
 * Eigenvalues of a system are even enough for an uncorrected `K M` if the mean of them times the mean of their inverses is below this: no
 * more than one of 64 can then be below a 256th of the mean.
 */
const EVEN = 4;

/** Quads of one workgroup's work: `H` or its inverse, `K H^-1` of its keys, right-hand side, solution, factor, one over its pivots. */
export function solverParts({ width }: Vectors, isCausal: boolean) {
  const system = isCausal ? 4 * width * width : 0;
  const panel = BLOCK * width;
  const gain = system;
  const rest = gain + (isCausal ? panel : 0);
  const solution = rest + panel;
  const factor = solution + panel;
  return { gain, rest, solution, factor, size: factor + (isCausal ? FACTOR_QUADS : 0) };
}

const params: Readonly<Record<string, ParamType>> = {
  Tq: 'u32',
  Tk: 'u32',
  Tqp: 'u32',
  Tkp: 'u32',
  chunk: 'u32',
  chunks: 'u32',
  /** Blocks of rows of a head, the first of them, and how many there are in all. */
  blocks: 'u32',
  firstBlock: 'u32',
  tasks: 'u32',
};

/** `K^T K` in a sum. */
const gramOf = ({ width }: Vectors, sums: Vectors): Columns => ({ ...stateColumns(sums), width });

/** Quads a head of `inverses`: the inverse, and room for the factor of a block. */
export const inverseQuads = ({ width }: Vectors): number => 4 * width * width + FACTOR_QUADS;

/** The inverse of `H` of each head, over all keys. One workgroup a head. */
export function invertShader(key: Vectors, sums: Vectors, ridges: RidgeAccess): Shader {
  const tile = solverTile(4 * key.width);
  const inverse = matrix('inverses', 'inverseAt', key.width);
  const factor = matrix('inverses', `(inverseAt + ${4 * key.width * key.width}u)`, BLOCK / 4);
  return {
    key: `mesaInvert ${JSON.stringify([key, sums])} ${ridges.text}`,
    workgroupSize: threadsOf(tile),
    params: { chunks: 'u32', ...ridges.params },
    buffers: {
      states: { access: 'read', element: 'vec4f' },
      ...ridges.buffers,
      inverses: { access: 'read_write', element: 'vec4f' },
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${ridges.text}
${declareTile(tile)}
${mainHead(tile)}
  let head = workgroup.x;
  let state = (head * (params.chunks + 1u) + params.chunks) * ${stateQuads(key, sums)}u;
  let inverseAt = head * ${inverseQuads(key)}u;
  let smallestRidge = smallestRidgeOf(head);
  ${buildSystem(tile, key, gramOf(key, sums), inverse, false)}
  ${invertMatrix(tile, inverse, factor)}
}`,
  };
}

/**
 * `x_i = H_i^-1 b_i` in place of `b_i` for 32 rows at a time, where row `l` of a block sees the block's keys up to `l`
 * and all before them.
 *
 * With `M` the inverse of the system of all these keys (`invertMatrix`) and `K_l` the block's keys behind `l`, which are
 * taken out again (Woodbury): `(1 - K_l M K_l^T) y = K_l M b`, `x = M b + M K_l^T y`. The matrices in front of `y` are the
 * trailing minors of one matrix of 32 by 32, so one factor `U d U^T` serves all rows: `y = U^-T [behind l] d^-1 U^-1 K M b`,
 * since the inverse of a triangular matrix's trailing part is the trailing part of its inverse. Everything is a product of
 * tiles. Adding keys to the system before the block instead would cancel: `M` is as large as one over the ridge there.
 *
 * A residual with the system itself, then the same once more on it, gives what float32 has to give.
 */
export function solveShader(shape: SolverShape, ridges: RidgeAccess): Shader {
  const { key, right, isCausal, sums } = shape;
  const gram = gramOf(key, sums);
  const { width } = key;
  const tile = solverTile(4 * width);
  const parts = solverParts(key, isCausal);
  const work = (part: number, quads = width) => matrix('work', `(workAt + ${part}u)`, quads);
  const inverse = isCausal ? work(0) : matrix('inverses', `head * ${inverseQuads(key)}u`, width);
  const [rest, solution] = [work(parts.rest), work(parts.solution)];
  const column = (g: number): string => `tx + ${tile.threadsX * g}u`;
  const own = (columns: typeof rest) => (i: number, g: number) => quadAt(tile, columns, '0u', i, column(g));
  const b = (i: number, g: number): string =>
    `select(vec4f(), rows[row${i} * ${right.stride}u + ${right.offset}u + ${column(g)}], isRow${i})`;
  const steps = {
    // Without own keys the system is the inverse's.
    removal: (): string => (isCausal ? removeKeys(tile, key, parts) : ''),
    residual: (): string => `
      ${perGroup(tile, width, (i, g) => `a${i}_${g} = ${b(i, g)} - ridgeQuad(head, ${column(g)}) * ${own(solution)(i, g)};`)}
      ${times(tile, 'a', solution, gram, '-')}
      ${isCausal ? chunkProducts(tile, key, solution, true) : ''}`,
  };
  return {
    key: `mesaSolve ${JSON.stringify(shape)} ${ridges.text}`,
    workgroupSize: threadsOf(tile),
    params: { ...params, ...ridges.params },
    buffers: {
      rows: { access: 'read_write', element: 'vec4f' },
      ...(isCausal && { preparedKey: { access: 'read', element: 'vec4f' } as const }),
      states: { access: 'read', element: 'vec4f' },
      ...ridges.buffers,
      marks: { access: 'read_write', element: 'atomic<u32>' },
      ...(!isCausal && { inverses: { access: 'read', element: 'vec4f' } as const }),
      work: { access: 'read_write', element: 'vec4f' },
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${ridges.text}
${declareTile(tile)}
${mainHead(tile)}
  let workAt = workgroup.x * ${parts.size}u;
  loop {
    if (tid == 0u) { shared_number.x = atomicAdd(&marks[3], 1u); }
    let task = workgroupUniformLoad(&shared_number).x;
    if (task >= params.tasks) { break; }
    let head = task / params.blocks;
    let keyTile = params.firstBlock + task % params.blocks;
    ${isCausal ? places(tile, key, sums) : fullPlaces(tile, key, sums)}
    let smallestRidge = smallestRidgeOf(head);
    ${isCausal ? `${buildSystem(tile, key, gram, inverse, true)} ${invertMatrix(tile, inverse, work(parts.factor, BLOCK / 4))}` : ''}
    ${isCausal ? factorOwnKeys(tile, key, gram, parts) : ''}
    ${declareAccumulator(tile, 'a', width)}
    ${declareAccumulator(tile, 'x', width)}
    ${perGroup(tile, width, (i, g) => `a${i}_${g} = ${b(i, g)};`)}
    ${perRow(tile, (i) => `var previous${i} = 0.0;`, ' ')}
    for (var step = 0u; step < ${MOST_STEPS}u; step++) {
      ${perGroup(tile, width, (i, g) => `${own(rest)(i, g)} = a${i}_${g};`)}
      ${BARRIERS}
      ${perGroup(tile, width, (i, g) => `x${i}_${g} = vec4f();`)}
      ${steps.removal()}
      ${times(tile, 'x', rest, inverse, '')}
      ${perRow(tile, (i) => `var change${i} = 0.0; var size${i} = 0.0;`, ' ')}
      ${perGroup(
        tile,
        width,
        (i, g) => `{
        let before = select(${own(solution)(i, g)}, vec4f(), step == 0u);
        change${i} += dot(x${i}_${g}, x${i}_${g});
        size${i} += dot(before, before);
      }`,
      )}
      ${reduceRows(tile, ['change', 'size'], 'sum')}
      // Corrections shrink, or they are noise: the last one is then left out.
      ${perRow(tile, (i) => `let isBetter${i} = step == 0u || change${i} < 0.64 * previous${i}; previous${i} = change${i};`)}
      ${perGroup(
        tile,
        width,
        (i, g) => `if (isBetter${i}) {
        ${own(solution)(i, g)} = select(${own(solution)(i, g)}, vec4f(), step == 0u) + x${i}_${g};
      }`,
      )}
      ${perRow(tile, (i) => `if (isBetter${i} && (step == 0u || change${i} > ${SMALL_CORRECTION} * size${i})) { flag.x = 1u; }`)}
      storageBarrier();
      let isOpen = workgroupUniformLoad(&flag).x;
      if (tid == 0u) { flag.x = 0u; }
      if (isOpen == 0u) { break; }
      ${steps.residual()}
    }
    ${perGroup(tile, width, (i, g) => `if (isRow${i}) { rows[row${i} * ${right.stride}u + ${right.offset}u + ${column(g)}] = ${own(solution)(i, g)}; }`)}
    ${BARRIERS}
  }
}`,
  };
}

/** A thread's rows of a block: those whose last key is in the block's tile of keys; and the state before its chunk. */
const places = (tile: Tile, key: Vectors, sums: Vectors): string => `
    let firstChunk = keyTile * ${BLOCK}u / params.chunk;
    let firstTile = firstChunk * params.chunk / ${BLOCK}u;
    let state = (head * (params.chunks + 1u) + firstChunk) * ${stateQuads(key, sums)}u;
    ${perRow(
      tile,
      (i) => `
    let place${i} = i32(keyTile * ${BLOCK}u + ty + ${tile.threadsY * i}u + params.Tq) - i32(params.Tk);
    let isRow${i} = place${i} >= 0 && place${i} < i32(params.Tq);
    let row${i} = head * params.Tqp + u32(clamp(place${i}, 0, i32(params.Tq) - 1));`,
    )}`;

/** The same where all rows see all keys: blocks of rows in their order. */
const fullPlaces = (tile: Tile, key: Vectors, sums: Vectors): string => `
    let state = (head * (params.chunks + 1u) + params.chunks) * ${stateQuads(key, sums)}u;
    ${perRow(
      tile,
      (i) => `
    let isRow${i} = keyTile * ${BLOCK}u + ty + ${tile.threadsY * i}u < params.Tq;
    let row${i} = head * params.Tqp + min(keyTile * ${BLOCK}u + ty + ${tile.threadsY * i}u, params.Tq - 1u);`,
    )}`;

type Parts = ReturnType<typeof solverParts>;

type Matrix = ReturnType<typeof matrix>;

/**
 * `K M` of the block's keys, and the factor of `1 - K M K^T`, a small difference where a key is the only one in its
 * direction: so `K M` is corrected by its residual `K - (K M) H`, unless the system's eigenvalues are so even that none is.
 */
function factorOwnKeys(tile: Tile, key: Vectors, gram: Columns, parts: Parts): string {
  const { width } = key;
  const gain = matrix('work', `(workAt + ${parts.gain}u)`, width);
  const factor = matrix('work', `(workAt + ${parts.factor}u)`, BLOCK / 4);
  const inverse = matrix('work', 'workAt', width);
  const keys = columnsOf('preparedKey', 'Tkp', key);
  const isUnit = (i: number, j: number): string => `select(0.0, 1.0, ty + ${tile.threadsY * i}u == 4u * tx + ${j}u)`;
  const rest = matrix('work', `(workAt + ${parts.rest}u)`, width);
  const column = (g: number): string => `tx + ${tile.threadsX * g}u`;
  const own = (of: Matrix, i: number, g: number): string => quadAt(tile, of, '0u', i, column(g));
  return `
    {
      ${declareAccumulator(tile, 'a', width)}
      for (var t = 0u; t < ${(4 * width) / BLOCK}u; t++) {
        workgroupBarrier();
        ${storeWeights(tile, (i) => quadAt(tile, keys, 'keyTile', i, `t * ${tile.threadsX}u + tx`))}
        ${accumulate(tile, 'a', inverse, false)}
      }
      ${perGroup(tile, width, (i, g) => `${own(gain, i, g)} = a${i}_${g};`)}
      ${BARRIERS}
      ${declareTrace(tile, 'inverseTrace', inverse)}
      if (tid == 0u) { flag.x = select(1u, 0u, trace * inverseTrace < ${EVEN * (4 * width) ** 2}.0); }
      let isUneven = workgroupUniformLoad(&flag).x != 0u;
      if (tid == 0u) { flag.x = 0u; }
      if (isUneven) {
      ${perGroup(tile, width, (i, g) => `a${i}_${g} = ${quadAt(tile, keys, 'keyTile', i, column(g))} - (ridgeQuad(head, ${column(g)}) + extraRidge) * a${i}_${g};`)}
      ${times(tile, 'a', gain, gram, '-')}
      ${chunkProducts(tile, key, gain, false)}
      ${perGroup(tile, width, (i, g) => `${own(rest, i, g)} = a${i}_${g}; a${i}_${g} = ${own(gain, i, g)};`)}
      ${times(tile, 'a', rest, inverse, '')}
      ${perGroup(tile, width, (i, g) => `${own(gain, i, g)} = a${i}_${g};`)}
      ${BARRIERS}
      }
      let t = keyTile;
      ${products(tile, keys, [{ name: 's', row: (i, c) => quadAt(tile, gain, '0u', i, c) }])}
      ${perRow(tile, (i) => `var g${i} = vec4f(${unroll(4, (j) => isUnit(i, j), ', ')}) - ${quadOf('s', i)};`)}
      ${factorBlock(tile, 'g', SMALLEST_PIVOT, factor)}
    }`;
}

/** `x += M K_l^T y` with `y` from the factor: takes the keys out that a row does not see; see `solveShader`. */
function removeKeys(tile: Tile, key: Vectors, parts: Parts): string {
  const { width } = key;
  const gain = matrix('work', `(workAt + ${parts.gain}u)`, width);
  const rest = matrix('work', `(workAt + ${parts.rest}u)`, width);
  const factor = matrix('work', `(workAt + ${parts.factor}u)`, BLOCK / 4);
  const row = (i: number): string => `ty + ${tile.threadsY * i}u`;
  const solved = (i: number, j: number): string =>
    `z${i}_${j} = select(0.0, z${i}_${j} * inverse[${j}], 4u * tx + ${j}u > ${row(i)});`;
  return `
      {
        let t = 0u;
        ${products(tile, gain, [{ name: 'w', row: (i, c) => quadAt(tile, rest, '0u', i, c) }])}
        workgroupBarrier();
        ${storeWeights(tile, (i) => quadOf('w', i))}
        ${products(tile, factor, [{ name: 'z', row: (i, c) => `weights[${i}][ty][${c}]` }])}
        let inverse = work[workAt + ${parts.factor + BLOCK * (BLOCK / 4)}u + tx];
        ${perRow(tile, (i) => unroll(4, (j) => solved(i, j), ' '))}
        workgroupBarrier();
        ${storeWeights(tile, (i) => quadOf('z', i))}
        ${declareAccumulator(tile, 'y', BLOCK / 4)}
        ${accumulate(tile, 'y', factor, true)}
        workgroupBarrier();
        ${storeWeights(tile, (i) => `y${i}_0`)}
        ${accumulate(tile, 'x', gain, false)}
      }`;
}

/** `name += sign (rows of the matrix \`from\`) times \`columns\``: rows of the block. */
function times(tile: Tile, name: string, from: Matrix, columns: Matrix, sign: '' | '-'): string {
  return `
      for (var t = 0u; t < ${(4 * from.width) / BLOCK}u; t++) {
        workgroupBarrier();
        ${storeWeights(tile, (i) => `${sign}${quadAt(tile, from, '0u', i, `t * ${tile.threadsX}u + tx`)}`)}
        ${accumulate(tile, name, columns, false)}
      }`;
}

/** `a -= sum_j (x_i.k_j) k_j` for rows `from` of vectors, over the chunk's keys, or those that the row sees. */
function chunkProducts(tile: Tile, key: Vectors, from: Matrix, isHidden: boolean): string {
  const keys = columnsOf('preparedKey', 'Tkp', key);
  const hide = (i: number, j: number): string =>
    `s${i}_${j} = select(0.0, s${i}_${j}, t < keyTile || 4u * tx + ${j}u <= ty + ${tile.threadsY * i}u);`;
  return `
      for (var t = firstTile; t <= keyTile; t++) {
        ${products(tile, keys, [{ name: 's', row: (i, c) => quadAt(tile, from, '0u', i, c) }])}
        ${isHidden ? perRow(tile, (i) => unroll(4, (j) => hide(i, j), ' ')) : ''}
        ${storeWeights(tile, (i) => `-${quadOf('s', i)}`)}
        ${accumulate(tile, 'a', keys, false)}
      }`;
}
