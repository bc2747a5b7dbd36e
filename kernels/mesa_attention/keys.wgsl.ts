import { chunkKeysShader, keyRow } from '../common/webgpu/chunk_keys.wgsl.js';
import {
  columnsOf,
  hideRows,
  overRowTiles,
  stateAt,
  stateColumns,
  stateTimes,
  timesState,
} from '../common/webgpu/chunk_products.wgsl.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import { accumulate, perRow, products, quadOf, storeWeights, type Tile } from '../common/webgpu/tile.wgsl.js';
import type { MesaShape } from './rows.wgsl.js';

/**
 * `dkey` and `dvalue`. With the sums `R = sum_i x_i g_i^T` and `Q = sum_i x_i u_i^T` over the rows behind a chunk, these
 * rows give `dv_j = R^T k_j` and `dk_j = R v_j - Q k_j - Q^T k_j`. The rows of the chunk itself come tile by tile. `states`
 * holds all `R` and, from `params.second` on, all `Q`. One workgroup a tile of keys.
 */
export function mesaKeysShader(shape: MesaShape): Shader {
  const { tile, probe, dout, solution, key, value, isCausal } = shape;
  const [keyQuad, valueQuad] = [keyRow('preparedKey', key), keyRow('preparedValue', value)];
  const minusKey = (i: number, c: string): string => `-${keyQuad(i, c)}`;
  const [xs, gs, us] = [probe, dout, solution].map((vectors) => columnsOf('rows', 'Tqp', vectors));
  const isSingle = value.width <= tile.chunk;
  const second = stateColumns(solution, 'second');
  const inChunk = (tile: Tile): string => `
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
    ${accumulate(tile, 'b', xs, false)}`;
  return chunkKeysShader(shape, {
    key: 'mesaKeys',
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
    sum: () => `
  let state = ${stateAt('firstChunk', 'rowChunks', probe, dout)};
  let second = params.second + ${stateAt('firstChunk', 'rowChunks', probe, solution)};
  ${timesState(tile, 'a', keyQuad, probe, stateColumns(dout))}
  ${timesState(tile, 'b', minusKey, probe, second)}
  ${stateTimes(tile, 'b', valueQuad, probe, stateColumns(dout))}
  ${stateTimes(tile, 'b', minusKey, probe, second)}
  ${isCausal ? overRowTiles(tile, inChunk) : ''}`,
  });
}
