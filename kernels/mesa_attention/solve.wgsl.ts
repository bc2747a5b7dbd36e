import { columnsOf, stateColumns } from '../common/webgpu/chunk_products.wgsl.js';
import { stateQuads, type Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { type ParamType, type Shader, unroll } from '../common/webgpu/shader.js';
import {
  accumulate,
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
import {
  BARRIERS,
  BLOCK,
  buildSystem,
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
}

/** Most corrections of a solution by its residual. Two are enough unless float32 has hardly a digit to give. */
const MOST_STEPS = 5;

/** A solution is done when a correction's square is below this part of its own: the next would be below 1e-7. */
const SMALL_CORRECTION = '1e-7';

/** Quads of one workgroup's work: `H` or its inverse, `K H^-1` of its keys, right-hand side, solution, factor. */
export function solverParts({ width }: Vectors, isCausal: boolean) {
  const system = isCausal ? 4 * width * width : 0;
  const panel = BLOCK * width;
  const gain = system;
  const rest = gain + (isCausal ? panel : 0);
  const solution = rest + panel;
  const factor = solution + panel;
  return { gain, rest, solution, factor, size: factor + (isCausal ? BLOCK * (BLOCK / 4) : 0) };
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
  workgroups: 'u32',
};

/** The inverse of `H` of each head, over all keys. One workgroup a head. */
export function invertShader(key: Vectors): Shader {
  const tile = solverTile(4 * key.width);
  const inverse = matrix('inverses', 'inverseAt', key.width);
  return {
    key: `mesaInvert ${JSON.stringify(key)}`,
    workgroupSize: threadsOf(tile),
    params: { chunks: 'u32' },
    buffers: {
      states: { access: 'read', element: 'vec4f' },
      ridges: { access: 'read', element: 'vec4f' },
      inverses: { access: 'read_write', element: 'vec4f' },
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${declareTile(tile)}
${mainHead(tile)}
  let head = workgroup.x;
  let state = (head * (params.chunks + 1u) + params.chunks) * ${stateQuads(key, key)}u;
  let inverseAt = head * ${4 * key.width * key.width}u;
  ${declareRidge(key)}
  ${buildSystem(tile, key, inverse, false)}
  ${invertMatrix(tile, inverse)}
}`,
  };
}

const declareRidge = ({ width }: Vectors): string => `
  let ridgeAt = head * ${width + 1}u;
  let smallestRidge = ridges[ridgeAt + ${width}u].x;`;

/**
 * `x_i = H_i^-1 b_i` in place of `b_i` for 32 rows at a time, where row `l` of a block sees the block's keys up to `l`
 * and all before them.
 *
 * With `M` the inverse of the system `H` of the keys before the block (`invertMatrix`), `K_l` its first `l + 1` keys and
 * `y = K_l x` (Woodbury): `(1 + K_l M K_l^T) y = K_l M b`, `x = M (b - K_l^T y)`. The matrices in front of `y` are the leading
 * minors of one matrix of 32 by 32, so one factor `L d L^T` serves all rows: `y = L^-T [up to l] d^-1 L^-1 K M b`, since the
 * inverse of a triangular matrix's leading part is the leading part of its inverse. Everything is a product of tiles.
 *
 * A residual with the system itself, then the same once more on it, gives what float32 has to give.
 */
export function solveShader(shape: SolverShape): Shader {
  const { key, right, isCausal } = shape;
  const { width } = key;
  const tile = solverTile(4 * width);
  const parts = solverParts(key, isCausal);
  const work = (part: number, quads = width) => matrix('work', `(workAt + ${part}u)`, quads);
  const inverse = isCausal ? work(0) : matrix('inverses', `head * ${4 * width * width}u`, width);
  const [rest, solution] = [work(parts.rest), work(parts.solution)];
  const column = (g: number): string => `tx + ${tile.threadsX * g}u`;
  const own = (columns: typeof rest) => (i: number, g: number) => quadAt(tile, columns, '0u', i, column(g));
  const b = (i: number, g: number): string =>
    `select(vec4f(), rows[row${i} * ${right.stride}u + ${right.offset}u + ${column(g)}], isRow${i})`;
  /** `name += sign (rows of matrix \`from\`) times \`columns\``. */
  const times = (name: string, from: typeof rest, columns: typeof rest, sign: '' | '-'): string => `
      for (var t = 0u; t < ${(4 * width) / BLOCK}u; t++) {
        workgroupBarrier();
        ${storeWeights(tile, (i) => `${sign}${quadAt(tile, from, '0u', i, `t * ${tile.threadsX}u + tx`)}`)}
        ${accumulate(tile, name, columns, false)}
      }`;
  const steps = {
    // Without own keys the system is the inverse's.
    reduce: isCausal ? reduceByOwnKeys(tile, key, parts) : '',
    residual: `
      ${perGroup(tile, width, (i, g) => `a${i}_${g} = ${b(i, g)} - ridges[ridgeAt + ${column(g)}] * ${own(solution)(i, g)};`)}
      ${times('a', solution, stateColumns(key), '-')}
      ${isCausal ? ownKeysResidual(tile, key, solution) : ''}`,
  };
  return {
    key: `mesaSolve ${JSON.stringify(shape)}`,
    workgroupSize: threadsOf(tile),
    params,
    buffers: {
      rows: { access: 'read_write', element: 'vec4f' },
      ...(isCausal && { preparedKey: { access: 'read', element: 'vec4f' } as const }),
      states: { access: 'read', element: 'vec4f' },
      ridges: { access: 'read', element: 'vec4f' },
      ...(!isCausal && { inverses: { access: 'read', element: 'vec4f' } as const }),
      work: { access: 'read_write', element: 'vec4f' },
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${declareTile(tile)}
${mainHead(tile)}
  let workAt = workgroup.x * ${parts.size}u;
  for (var task = workgroup.x; task < params.tasks; task += params.workgroups) {
    let head = task / params.blocks;
    let keyTile = params.firstBlock + task % params.blocks;
    ${isCausal ? places(tile, key) : fullPlaces(tile, key)}
    ${declareRidge(key)}
    ${isCausal ? `${buildSystem(tile, key, inverse, true)} ${invertMatrix(tile, inverse)}` : ''}
    ${isCausal ? factorOwnKeys(tile, key, parts) : ''}
    ${declareAccumulator(tile, 'a', width)}
    ${declareAccumulator(tile, 'x', width)}
    ${perGroup(tile, width, (i, g) => `a${i}_${g} = ${b(i, g)};`)}
    for (var step = 0u; step < ${MOST_STEPS}u; step++) {
      ${perGroup(tile, width, (i, g) => `${own(rest)(i, g)} = a${i}_${g};`)}
      ${BARRIERS}
      ${steps.reduce}
      ${perGroup(tile, width, (i, g) => `x${i}_${g} = vec4f();`)}
      ${times('x', rest, inverse, '')}
      ${perRow(tile, (i) => `var change${i} = 0.0; var size${i} = 0.0;`, ' ')}
      ${perGroup(
        tile,
        width,
        (i, g) => `{
        let before = select(${own(solution)(i, g)}, vec4f(), step == 0u);
        let after = before + x${i}_${g};
        change${i} += dot(x${i}_${g}, x${i}_${g});
        size${i} += dot(after, after);
        ${own(solution)(i, g)} = after;
      }`,
      )}
      ${reduceRows(tile, ['change', 'size'], 'sum')}
      ${perRow(tile, (i) => `if (change${i} > ${SMALL_CORRECTION} * size${i}) { flag.x = 1u; }`)}
      storageBarrier();
      let isOpen = workgroupUniformLoad(&flag).x;
      if (tid == 0u) { flag.x = 0u; }
      if (isOpen == 0u) { break; }
      ${steps.residual}
    }
    ${perGroup(tile, width, (i, g) => `if (isRow${i}) { rows[row${i} * ${right.stride}u + ${right.offset}u + ${column(g)}] = ${own(solution)(i, g)}; }`)}
    ${BARRIERS}
  }
}`,
  };
}

/** A thread's rows of a block: those whose last key is in the block's tile of keys; and the state before its chunk. */
const places = (tile: Tile, key: Vectors): string => `
    let firstChunk = keyTile * ${BLOCK}u / params.chunk;
    let firstTile = firstChunk * params.chunk / ${BLOCK}u;
    let state = (head * (params.chunks + 1u) + firstChunk) * ${stateQuads(key, key)}u;
    ${perRow(
      tile,
      (i) => `
    let place${i} = i32(keyTile * ${BLOCK}u + ty + ${tile.threadsY * i}u + params.Tq) - i32(params.Tk);
    let isRow${i} = place${i} >= 0 && place${i} < i32(params.Tq);
    let row${i} = head * params.Tqp + u32(clamp(place${i}, 0, i32(params.Tq) - 1));`,
    )}`;

/** The same where all rows see all keys: blocks of rows in their order. */
const fullPlaces = (tile: Tile, key: Vectors): string => `
    let state = (head * (params.chunks + 1u) + params.chunks) * ${stateQuads(key, key)}u;
    ${perRow(
      tile,
      (i) => `
    let isRow${i} = keyTile * ${BLOCK}u + ty + ${tile.threadsY * i}u < params.Tq;
    let row${i} = head * params.Tqp + min(keyTile * ${BLOCK}u + ty + ${tile.threadsY * i}u, params.Tq - 1u);`,
    )}`;

type Parts = ReturnType<typeof solverParts>;

/** `K M` of the block's keys, and the factor of `1 + K M K^T` as `d^-1` on the diagonal and `L^-1` below it. */
function factorOwnKeys(tile: Tile, key: Vectors, parts: Parts): string {
  const { width } = key;
  const gain = matrix('work', `(workAt + ${parts.gain}u)`, width);
  const factor = matrix('work', `(workAt + ${parts.factor}u)`, BLOCK / 4);
  const inverse = matrix('work', 'workAt', width);
  const keys = columnsOf('preparedKey', 'Tkp', key);
  const isUnit = (i: number, j: number): string => `select(0.0, 1.0, ty + ${tile.threadsY * i}u == 4u * tx + ${j}u)`;
  const lower = (i: number): string => {
    const columns = 'vec4u(4u * tx) + vec4u(0u, 1u, 2u, 3u)';
    const row = `vec4u(ty + ${tile.threadsY * i}u)`;
    return `select(select(vec4f(), g${i}, ${columns} < ${row}), 1.0 / max(g${i}, vec4f(1.0)), ${columns} == ${row})`;
  };
  return `
    {
      ${declareAccumulator(tile, 'a', width)}
      for (var t = 0u; t < ${(4 * width) / BLOCK}u; t++) {
        workgroupBarrier();
        ${storeWeights(tile, (i) => quadAt(tile, keys, 'keyTile', i, `t * ${tile.threadsX}u + tx`))}
        ${accumulate(tile, 'a', inverse, false)}
      }
      ${perGroup(tile, width, (i, g) => `${quadAt(tile, gain, '0u', i, `tx + ${tile.threadsX * g}u`)} = a${i}_${g};`)}
      ${BARRIERS}
      let t = keyTile;
      ${products(tile, keys, [{ name: 's', row: (i, c) => quadAt(tile, gain, '0u', i, c) }])}
      ${perRow(tile, (i) => `var g${i} = ${quadOf('s', i)} + vec4f(${unroll(4, (j) => isUnit(i, j), ', ')});`)}
      ${factorBlock(tile, 'g')}
      ${perRow(tile, (i) => `${quadAt(tile, factor, '0u', i, 'tx')} = ${lower(i)};`)}
      ${BARRIERS}
    }`;
}

/** `b -= K_l^T y` in `rest`, with `y` from the factor; see `solveShader`. */
function reduceByOwnKeys(tile: Tile, key: Vectors, parts: Parts): string {
  const { width } = key;
  const gain = matrix('work', `(workAt + ${parts.gain}u)`, width);
  const rest = matrix('work', `(workAt + ${parts.rest}u)`, width);
  const factor = matrix('work', `(workAt + ${parts.factor}u)`, BLOCK / 4);
  const keys = columnsOf('preparedKey', 'Tkp', key);
  // The factor's rows have `1 / d` on the diagonal, where L^-1 has 1.
  const diagonal = (j: number): string =>
    `work[workAt + ${parts.factor}u + (4u * tx + ${j}u) * ${BLOCK / 4}u + tx][${j}]`;
  const row = (i: number): string => `ty + ${tile.threadsY * i}u`;
  const solved = (i: number, j: number): string =>
    `z${i}_${j} = select(0.0, (z${i}_${j} + w${i}_${j} * (1.0 - d${j})) * d${j}, 4u * tx + ${j}u <= ${row(i)});`;
  return `
      {
        let t = 0u;
        ${products(tile, gain, [{ name: 'w', row: (i, c) => quadAt(tile, rest, '0u', i, c) }])}
        workgroupBarrier();
        ${storeWeights(tile, (i) => quadOf('w', i))}
        ${products(tile, factor, [{ name: 'z', row: (i, c) => `weights[${i}][ty][${c}]` }])}
        ${unroll(4, (j) => `let d${j} = ${diagonal(j)};`, ' ')}
        ${perRow(tile, (i) => unroll(4, (j) => solved(i, j), ' '))}
        workgroupBarrier();
        ${storeWeights(tile, (i) => quadOf('z', i))}
        ${declareAccumulator(tile, 'y', BLOCK / 4)}
        ${accumulate(tile, 'y', factor, true)}
        ${perRow(tile, (i) => `y${i}_0 += ${quadOf('z', i)} * (vec4f(1.0) - vec4f(d0, d1, d2, d3));`)}
        workgroupBarrier();
        ${storeWeights(tile, (i) => `-y${i}_0`)}
      }
      {
        let t = keyTile;
        ${accumulate(tile, 'a', keys, false)}
        ${perGroup(tile, width, (i, g) => `${quadAt(tile, rest, '0u', i, `tx + ${tile.threadsX * g}u`)} = a${i}_${g};`)}
      }`;
}

/** `a -= sum_j (x.k_j) k_j` over the keys of the chunk that a row sees. */
function ownKeysResidual(tile: Tile, key: Vectors, solution: ReturnType<typeof matrix>): string {
  const keys = columnsOf('preparedKey', 'Tkp', key);
  const hide = (i: number, j: number): string =>
    `s${i}_${j} = select(0.0, s${i}_${j}, t < keyTile || 4u * tx + ${j}u <= ty + ${tile.threadsY * i}u);`;
  return `
      for (var t = firstTile; t <= keyTile; t++) {
        ${products(tile, keys, [{ name: 's', row: (i, c) => quadAt(tile, solution, '0u', i, c) }])}
        ${perRow(tile, (i) => unroll(4, (j) => hide(i, j), ' '))}
        ${storeWeights(tile, (i) => `-${quadOf('s', i)}`)}
        ${accumulate(tile, 'a', keys, false)}
      }`;
}
