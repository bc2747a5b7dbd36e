import { chunkKeysShader, keyRow } from '../common/webgpu/chunk_keys.wgsl.js';
import {
  columnsOf,
  hideRows,
  overRowTiles,
  stateAt,
  stateColumns,
  stateSum,
  stateTimes,
  timesState,
} from '../common/webgpu/chunk_products.wgsl.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import { accumulate, perRow, products, quadOf, storeWeights, type Tile } from '../common/webgpu/tile.wgsl.js';
import { derivativeOf } from './feature_map.wgsl.js';
import { linearParams, type LinearShape } from './rows.wgsl.js';

/**
 * `dkey` and `dvalue`. With `R = sum_i phi(q_i) (f_i g_i)^T` over the rows behind a chunk and `r = sum_i c_i phi(q_i)`,
 * `c_i = -f_i g_i.o_i`, these rows give `dphi(k_j) = R v_j + r` and `dv_j = R^T phi(k_j)`: one state for both. The rows of
 * the chunk itself come tile by tile. One workgroup a tile of keys.
 */
export function linearKeysShader(shape: LinearShape): Shader {
  const { tile, query, dout, key, value, isCausal, featureMap } = shape;
  const [keyQuad, valueQuad] = [keyRow('preparedKey', key), keyRow('preparedValue', value)];
  const queries = columnsOf('rows', 'Tqp', query);
  const cotangents = columnsOf('rows', 'Tqp', dout);
  const isSingle = value.width <= tile.chunk;
  const last = (j: number): string => `rows[(first + ${j}u) * ${query.stride}u + ${query.stride - 1}u].x`;
  const inChunk = (tile: Tile): string => `
    ${products(tile, queries, [{ name: 's', row: keyQuad }])}
    ${hideRows(tile, 's')}
    ${storeWeights(tile, (i) => quadOf('s', i))}
    ${products(tile, cotangents, [{ name: 'p', row: valueQuad }])}
    let first = head * params.Tqp + t * 32u + 4u * tx;
    ${unroll(4, (j) => `{ let c = ${last(j)}; ${perRow(tile, (i) => `p${i}_${j} += c;`, ' ')} }`)}
    ${hideRows(tile, 'p')}
    ${accumulate(tile, 'a', cotangents, isSingle)}
    workgroupBarrier();
    ${storeWeights(tile, (i) => quadOf('p', i))}
    ${accumulate(tile, 'b', queries, false)}`;
  return chunkKeysShader(shape, {
    key: 'linearKeys',
    params: linearParams,
    sum: () => `
  let state = ${stateAt('firstChunk', 'rowChunks', query, dout)};
  ${timesState(tile, 'a', keyQuad, query, stateColumns(dout))}
  ${stateTimes(tile, 'b', valueQuad, query, stateColumns(dout), (_, c) => stateSum(query, dout, c))}
  ${isCausal ? overRowTiles(tile, inChunk) : ''}`,
    dkey: (i, g) => `b${i}_${g} * ${derivativeOf[featureMap](keyQuad(i, `tx + ${tile.threadsX * g}u`))}`,
  });
}
