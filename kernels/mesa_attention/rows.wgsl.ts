import {
  columnsOf,
  declareRowChunks,
  hideKeys,
  overKeyTiles,
  partColumns,
  rowPlace,
  stateAt,
  type StatePart,
  stateTimes,
} from '../common/webgpu/chunk_products.wgsl.js';
import type { Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { boundFunction, ROW_STATES } from '../common/webgpu/prepare.wgsl.js';
import { rowStore } from '../common/webgpu/row_store.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import {
  accumulateWeights,
  blockRowsOf,
  declareAccumulator,
  declareTile,
  groupsOf,
  mainHead,
  perRow,
  products,
  quadOf,
  threadsOf,
  type Tile,
  tileBytes,
} from '../common/webgpu/tile.wgsl.js';

/** Where the vectors of the gradient's kernels lie; the rows hold `x`, `g` and `u` side by side. */
export interface MesaShape {
  readonly tile: Tile;
  readonly D: number;
  readonly Dv: number;
  readonly probe: Vectors;
  readonly dout: Vectors;
  readonly solution: Vectors;
  readonly key: Vectors;
  readonly value: Vectors;
  /** Where sums over keys hold those of key and value. */
  readonly state: StatePart;
  readonly isCausal: boolean;
}

/** `N_i = sum_j (g_i.v_j) k_j` over the keys that a row sees, written where `u` is to stand. One workgroup a tile of rows. */
export function mesaTargetShader(shape: MesaShape): Shader {
  const { tile, dout, solution, key, value, state, isCausal } = shape;
  const quad = ({ stride, offset }: Vectors, i: number, c: string): string =>
    `rows[row${i} * ${stride}u + ${offset}u + ${c}]`;
  const row = (i: number, c: string): string => quad(dout, i, c);
  const inChunk = (of: Tile): string => `
    ${products(of, columnsOf('preparedValue', 'Tkp', value), [{ name: 's', row }])}
    ${hideKeys(of, 's')}
    ${accumulateWeights(of, 'b', (i) => quadOf('s', i), columnsOf('preparedKey', 'Tkp', key))}`;
  return {
    key: `mesaTarget ${JSON.stringify(shape)}`,
    workgroupSize: threadsOf(tile),
    params: { Tq: 'u32', Tk: 'u32', Tqp: 'u32', Tkp: 'u32', chunk: 'u32', keyChunks: 'u32' },
    buffers: {
      rows: { access: 'read_write', element: 'vec4f' },
      ...(isCausal && {
        preparedKey: { access: 'read', element: 'vec4f' } as const,
        preparedValue: { access: 'read', element: 'vec4f' } as const,
      }),
      states: { access: 'read', element: 'vec4f' },
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${boundFunction(isCausal)}
${declareTile(tile)}
${mainHead(tile)}
  let head = workgroup.x;
  let firstRow = workgroup.y * ${blockRowsOf(tile)}u;
  ${perRow(tile, (i) => `let row${i} = head * params.Tqp + firstRow + ${rowPlace(tile)(i)};`)}
  ${declareRowChunks(tile, isCausal)}
  let state = ${stateAt('firstChunk', 'keyChunks', key, state.right)};
  ${declareAccumulator(tile, 'b', key.width)}
  ${stateTimes(tile, 'b', row, key, partColumns(state, value))}
  ${isCausal ? overKeyTiles(tile, inChunk) : ''}
  ${perRow(tile, (i) =>
    unroll(groupsOf(tile, key.width), (g) => `${quad(solution, i, `tx + ${tile.threadsX * g}u`)} = b${i}_${g};`),
  )}
}`,
  };
}

/** Vectors of the prepared rows as an output `[heads, Tq, width]`: NaN and zeros by the rows' states. */
export function storeRowsShader(vectors: Vectors, width: number): Shader {
  const store = rowStore('out', width);
  return {
    key: `storeRows ${JSON.stringify([vectors, width])}`,
    workgroupSize: 64,
    params: { firstHead: 'u32', Tq: 'u32', Tqp: 'u32', nan: 'f32' },
    buffers: {
      rows: { access: 'read', element: 'vec4f' },
      rowInfo: { access: 'read', element: 'vec2f' },
      out: store.buffer,
    },
    workgroupBytes: 0,
    text: () => `
${ROW_STATES}
${store.text}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x / ${vectors.width}u;
  let c = id.x % ${vectors.width}u;
  if (i >= params.Tq) { return; }
  let row = id.y * params.Tqp + i;
  let state = rowInfo[row].y;
  let x = rows[row * ${vectors.stride}u + ${vectors.offset}u + c];
  let other = select(vec4f(), vec4f(params.nan), state == BAD);
  store_out((params.firstHead + id.y) * params.Tq + i, c, select(other, x, state == ORDINARY));
}`,
  };
}
