import {
  columnsOf,
  declareKeyChunks,
  hideRows,
  keyGradient,
  startFunction,
  stateAt,
  stateColumns,
  stateTimes,
  timesState,
} from '../common/webgpu/chunk_products.wgsl.js';
import { rowStore } from '../common/webgpu/row_store.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import {
  accumulate,
  blockRowsOf,
  declareAccumulator,
  declareTile,
  groupsOf,
  mainHead,
  perRow,
  products,
  quadOf,
  storeWeights,
  threadsOf,
  tileBytes,
} from '../common/webgpu/tile.wgsl.js';
import type { MesaShape } from './rows.wgsl.js';

/**
 * `dkey` and `dvalue`. With the sums `R = sum_i x_i g_i^T` and `Q = sum_i x_i u_i^T` over the rows behind a chunk, these
 * rows give `dv_j = R^T k_j` and `dk_j = R v_j - Q k_j - Q^T k_j`. The rows of the chunk itself come tile by tile. `states`
 * holds all `R` and, from `params.second` on, all `Q`. One workgroup a tile of keys.
 */
export function mesaKeysShader(shape: MesaShape): Shader {
  const { tile, D, Dv, probe, dout, solution, key, value, isCausal } = shape;
  const dkey = rowStore('dkey', D);
  const dvalue = rowStore('dvalue', Dv);
  const keyQuad = (i: number, c: string): string => `preparedKey[row${i} * ${key.width}u + ${c}]`;
  const minusKey = (i: number, c: string): string => `-${keyQuad(i, c)}`;
  const valueQuad = (i: number, c: string): string => `preparedValue[row${i} * ${value.width}u + ${c}]`;
  const [xs, gs, us] = [probe, dout, solution].map((vectors) => columnsOf('rows', 'Tqp', vectors));
  const isSingle = value.width <= tile.chunk;
  const second = stateColumns(solution, 'second');
  const inChunk = `
  for (var t = firstTile; t < rowTiles; t++) {
    ${products(tile, us, [{ name: 'r', row: keyQuad }])}
    ${products(tile, xs, [{ name: 's', row: keyQuad }])}
    ${hideRows(tile, 's')}
    ${storeWeights(tile, (i) => quadOf('s', i))}
    ${products(tile, gs, [{ name: 'p', row: valueQuad }])}
    ${perRow(tile, (i) => unroll(4, (j) => `p${i}_${j} -= r${i}_${j};`, ' '))}
    ${hideRows(tile, 'p')}
    ${accumulate(tile, 'a', gs, isSingle)}
    workgroupBarrier();
    ${storeWeights(tile, (i) => `-${quadOf('s', i)}`)}
    ${accumulate(tile, 'b', us, false)}
    workgroupBarrier();
    ${storeWeights(tile, (i) => quadOf('p', i))}
    ${accumulate(tile, 'b', xs, false)}
  }`;
  const store = (name: string, accumulator: string, width: number): string =>
    perRow(
      tile,
      (i) => `{
    let j = firstKey + ty + ${tile.threadsY * i}u;
    let isVisible = keyTerms[row${i}] > -1e29;
    if (j < params.Tk) {
      ${unroll(groupsOf(tile, width), (g) => `store_${name}((params.firstHead + head) * params.Tk + j, tx + ${tile.threadsX * g}u, ${keyGradient(`${accumulator}${i}_${g}`)});`)}
    }
  }`,
    );
  return {
    key: `mesaKeys ${JSON.stringify(shape)}`,
    workgroupSize: threadsOf(tile),
    params: {
      firstHead: 'u32',
      Tq: 'u32',
      Tk: 'u32',
      Tqp: 'u32',
      Tkp: 'u32',
      chunk: 'u32',
      rowChunks: 'u32',
      second: 'u32',
      nan: 'f32',
    },
    buffers: {
      ...(isCausal && { rows: { access: 'read', element: 'vec4f' } as const }),
      preparedKey: { access: 'read', element: 'vec4f' },
      preparedValue: { access: 'read', element: 'vec4f' },
      keyTerms: { access: 'read', element: 'f32' },
      marks: { access: 'read', element: 'u32' },
      states: { access: 'read', element: 'vec4f' },
      dkey: dkey.buffer,
      dvalue: dvalue.buffer,
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${startFunction(isCausal)}
${dkey.text}
${dvalue.text}
${declareTile(tile)}
${mainHead(tile)}
  let head = workgroup.x;
  let firstKey = workgroup.y * ${blockRowsOf(tile)}u;
  ${perRow(tile, (i) => `let row${i} = head * params.Tkp + firstKey + ty + ${tile.threadsY * i}u;`)}
  ${declareKeyChunks(tile, isCausal)}
  let state = ${stateAt('firstChunk', 'rowChunks', probe, dout)};
  let second = params.second + ${stateAt('firstChunk', 'rowChunks', probe, solution)};
  ${declareAccumulator(tile, 'a', value.width)}
  ${declareAccumulator(tile, 'b', key.width)}
  ${timesState(tile, 'a', keyQuad, probe, stateColumns(dout))}
  ${timesState(tile, 'b', minusKey, probe, second)}
  ${stateTimes(tile, 'b', valueQuad, probe, stateColumns(dout))}
  ${stateTimes(tile, 'b', minusKey, probe, second)}
  ${isCausal ? inChunk : ''}
  let badBound = marks[4u * head + 2u];
  ${store('dkey', 'b', key.width)}
  ${store('dvalue', 'a', value.width)}
}`,
  };
}
