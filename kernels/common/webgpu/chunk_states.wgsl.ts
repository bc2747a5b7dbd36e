import { vec4 } from './prepare.wgsl.js';
import { type BufferType, type ParamType, type Shader, unroll } from './shader.js';
import {
  accumulateWeights,
  blockColumnsOf,
  blockRowsOf,
  declareAccumulator,
  declareTile,
  groupsOf,
  mainHead,
  perRow,
  reduceRows,
  threadsOf,
  type Tile,
  tileBytes,
} from './tile.wgsl.js';

/** Vectors of a prepared tensor `[heads, T, 4 stride]`: where they lie in its rows, in quads. */
export interface Vectors {
  readonly stride: number;
  readonly offset: number;
  /** Quads of a vector, a multiple of 8. */
  readonly width: number;
}

/** Quads of a state: `[left, right]`, then the sum of the left vectors. */
export const stateQuads = (left: Vectors, right: Vectors): number => 4 * left.width * right.width + left.width;

/** Quads of the right vectors that one workgroup takes. */
const rightTile = ({ width }: Vectors): number => (width % 16 === 0 ? 16 : 8);

/** What a shader of sums reads; quads of row `j` of the vectors of the workgroup's head, all of them expressions. */
export interface ChunkSource {
  readonly key: string;
  readonly params: Readonly<Record<string, ParamType>>;
  readonly buffers: Readonly<Record<string, BufferType>>;
  readonly text: string;
  /** What a workgroup of so many threads does first. */
  readonly begin: (threads: number) => string;
  /** And what it does last. */
  readonly end?: string;
  readonly left: (j: string, c: string) => string;
  readonly right: (j: string, c: string) => string;
  /** What is summed of quads `x` that were read so; they themselves where it is absent. */
  readonly storedLeft?: (x: string, j: string, c: string) => string;
  readonly storedRight?: (x: string, j: string, c: string) => string;
  /** What a left vector is multiplied by in the sum of them; 1 where it is absent. */
  readonly factor?: (j: string) => string;
}

/** Expression: quad `c` of row `j` of vectors in the prepared tensor `buffer`. */
const vectorQuad = (buffer: string, { stride, offset }: Vectors, j: string, c: string): string =>
  `${buffer}[(head * params.rows + ${j}) * ${stride}u + ${offset}u + ${c}]`;

/** Vectors of the prepared tensors `left` and `right`; the factor is the first number of quad `factor` of the left one's rows. */
export const preparedChunks = (left: Vectors, right: Vectors, factor?: number): ChunkSource => ({
  key: JSON.stringify(['prepared', left, right, factor]),
  params: {},
  buffers: { left: vec4('read'), right: vec4('read') },
  text: '',
  begin: () => '',
  left: (j, c) => vectorQuad('left', left, j, c),
  right: (j, c) => vectorQuad('right', right, j, c),
  ...(factor !== undefined && {
    factor: (j: string) => `${vectorQuad('left', { ...left, offset: factor }, j, '0u')}.x`,
  }),
});

/** Prepared keys, and for right vectors keys and values side by side. */
export const pairChunks = (key: Vectors, value: Vectors): ChunkSource => ({
  key: JSON.stringify(['pairs', key, value]),
  params: {},
  buffers: { preparedKey: vec4('read'), preparedValue: vec4('read') },
  text: `
fn pair(head: u32, j: u32, c: u32) -> vec4f {
  if (c < ${key.width}u) { return ${vectorQuad('preparedKey', key, 'j', 'c')}; }
  return ${vectorQuad('preparedValue', value, 'j', `(c - ${key.width}u)`)};
}`,
  begin: () => '',
  left: (j, c) => vectorQuad('preparedKey', key, j, c),
  right: (j, c) => `pair(head, ${j}, ${c})`,
});

/** Workgroups that share a state. */
export const stateParts = (tile: Tile, left: Vectors, right: Vectors): number =>
  ((4 * left.width) / blockRowsOf(tile)) * (right.width / rightTile(right));

/**
 * Sums over each chunk of a head's rows: `sum_i l_i r_i^T` and, behind it, `sum_i c_i l_i`. `states [heads, chunks + 1,
 * quads]`; the last one is for what a scan leaves there.
 *
 * One workgroup a chunk and block of the state. The tile's rows are channels of the left vectors, `4 ty + i`, so that a
 * thread reads quads and turns blocks of 4 x 4 in registers. `c` is the source's factor.
 */
export function chunkStatesShader(tile: Tile, left: Vectors, right: Vectors, source: ChunkSource): Shader {
  const parts = right.width / rightTile(right);
  const columns = blockColumnsOf(tile);
  const width = rightTile(right);
  const rightQuad = (c: string): string => `(part * ${width}u + ${c})`;
  const values = {
    buffer: '',
    base: '',
    stride: 0,
    offset: 0,
    width,
    load: (j: string, c: string) => source.right(j, rightQuad(c)),
    stored: (x: string, j: string, c: string) => source.storedRight?.(x, j, rightQuad(c)) ?? x,
  };
  const column = (i: number): string => `vec4f(l0[${i}], l1[${i}], l2[${i}], l3[${i}])`;
  const row = (e: number): string => `(t * ${columns}u + 4u * tx + ${e}u)`;
  const factors = `vec4f(${unroll(4, (e) => source.factor?.(row(e)) ?? '1.0', ', ')})`;
  return {
    key: `chunkStates ${JSON.stringify([tile, left.width, right.width])} ${source.key}`,
    workgroupSize: threadsOf(tile),
    params: { rows: 'u32', chunk: 'u32', chunks: 'u32', ...source.params },
    buffers: {
      ...source.buffers,
      states: vec4('read_write'),
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${source.text}
${declareTile(tile)}
${mainHead(tile)}
  let head = workgroup.x;
  ${source.begin(threadsOf(tile))}
  let part = workgroup.z % ${parts}u;
  let firstQuad = workgroup.z / ${parts}u * ${blockRowsOf(tile) / 4}u + ty;
  ${declareAccumulator(tile, 'a', width)}
  ${perRow(tile, (i) => `var sum${i} = 0.0;`, ' ')}
  let end = min((workgroup.y + 1u) * params.chunk, params.rows) / ${columns}u;
  for (var t = workgroup.y * params.chunk / ${columns}u; t < end; t++) {
    ${unroll(4, (e) => `let left${e} = ${source.left(row(e), 'firstQuad')};`)}
    ${unroll(4, (e) => `let l${e} = ${source.storedLeft?.(`left${e}`, row(e), 'firstQuad') ?? `left${e}`};`)}
    let c = ${factors};
    ${perRow(tile, (i) => `sum${i} += dot(c, ${column(i)});`)}
    ${accumulateWeights(tile, 'a', column, values)}
  }
  ${reduceRows(tile, ['sum'], 'sum')}
  let state = (head * (params.chunks + 1u) + workgroup.y) * ${stateQuads(left, right)}u;
  ${perRow(tile, (i) =>
    unroll(
      groupsOf(tile, width),
      (g) =>
        `states[state + (4u * firstQuad + ${i}u) * ${right.width}u + part * ${width}u + tx + ${tile.threadsX * g}u] = a${i}_${g};`,
    ),
  )}
  if (tx == 0u && part == 0u) {
    states[state + ${4 * left.width * right.width}u + firstQuad] = vec4f(sum0, sum1, sum2, sum3);
  }
  ${source.end ?? ''}
}`,
  };
}

/** States of a scan that are loaded before any is needed: a thread would else wait for each of them in turn. */
const AHEAD = 16;

/** What a scan leaves at chunk `c`: the sum of all chunks before it, or of it and all behind it. */
export type Scan = 'before' | 'fromHere';

/**
 * Sums of a head's states over its chunks, in place; one thread a quad of the state. `before` leaves the sum of all
 * in the last state, `fromHere` zeros.
 */
export function scanShader(scan: Scan): Shader {
  const step = (x: string, at: string): string =>
    scan === 'before' ? `states[${at}] = sum; sum += ${x};` : `sum += ${x}; states[${at}] = sum;`;
  const place = (c: string): string =>
    scan === 'before' ? `(${c}) * params.size + start` : `(params.chunks - 1u - (${c})) * params.size + start`;
  return {
    key: `scanStates ${scan}`,
    workgroupSize: 64,
    params: { chunks: 'u32', size: 'u32' },
    buffers: { states: { access: 'read_write', element: 'vec4f' } },
    workgroupBytes: 0,
    text: () => `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.size) { return; }
  let start = id.y * (params.chunks + 1u) * params.size + id.x;
  var sum = vec4f();
  var c = 0u;
  for (; c + ${AHEAD}u <= params.chunks; c += ${AHEAD}u) {
    ${unroll(AHEAD, (e) => `let at${e} = ${place(`c + ${e}u`)}; let x${e} = states[at${e}];`)}
    ${unroll(AHEAD, (e) => step(`x${e}`, `at${e}`))}
  }
  for (; c < params.chunks; c++) {
    let at = ${place('c')};
    let x = states[at];
    ${step('x', 'at')}
  }
  states[start + params.chunks * params.size] = ${scan === 'before' ? 'sum' : 'vec4f()'};
}`,
  };
}
