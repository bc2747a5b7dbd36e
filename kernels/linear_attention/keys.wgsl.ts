import {
  columnsOf,
  declareKeyChunks,
  hideRows,
  keyGradient,
  startFunction,
  stateAt,
  stateColumns,
  stateSum,
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
import { derivativeOf } from './feature_map.wgsl.js';
import { linearParams, type LinearShape } from './rows.wgsl.js';

/**
 * `dkey` and `dvalue`. With `R = sum_i phi(q_i) (f_i g_i)^T` over the rows behind a chunk and `r = sum_i c_i phi(q_i)`,
 * `c_i = -f_i g_i.o_i`, these rows give `dphi(k_j) = R v_j + r` and `dv_j = R^T phi(k_j)`: one state for both. The rows of
 * the chunk itself come tile by tile. One workgroup a tile of keys.
 */
export function linearKeysShader(shape: LinearShape): Shader {
  const { tile, D, Dv, query, dout, key, value, isCausal, featureMap } = shape;
  const dkey = rowStore('dkey', D);
  const dvalue = rowStore('dvalue', Dv);
  const quad = (buffer: string, width: number) => (i: number, c: string) => `${buffer}[row${i} * ${width}u + ${c}]`;
  const keyQuad = quad('preparedKey', key.width);
  const valueQuad = quad('preparedValue', value.width);
  const queries = columnsOf('rows', 'Tqp', query);
  const cotangents = columnsOf('rows', 'Tqp', dout);
  const isSingle = value.width <= tile.chunk;
  const last = (j: number): string => `rows[(first + ${j}u) * ${query.stride}u + ${query.stride - 1}u].x`;
  const inChunk = `
  for (var t = firstTile; t < rowTiles; t++) {
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
    ${accumulate(tile, 'b', queries, false)}
  }`;
  const store = (name: string, width: number, result: (i: number, g: number) => string): string =>
    perRow(
      tile,
      (i) => `{
    let j = firstKey + ty + ${tile.threadsY * i}u;
    let isVisible = keyTerms[row${i}] > -1e29;
    if (j < params.Tk) {
      ${unroll(groupsOf(tile, width), (g) => `store_${name}((params.firstHead + head) * params.Tk + j, tx + ${tile.threadsX * g}u, ${keyGradient(result(i, g))});`)}
    }
  }`,
    );
  const feature = (i: number, g: number): string => keyQuad(i, `tx + ${tile.threadsX * g}u`);
  return {
    key: `linearKeys ${JSON.stringify(shape)}`,
    workgroupSize: threadsOf(tile),
    params: linearParams,
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
  let state = ${stateAt('firstChunk', 'rowChunks', query, dout)};
  ${declareAccumulator(tile, 'a', value.width)}
  ${declareAccumulator(tile, 'b', key.width)}
  ${timesState(tile, 'a', keyQuad, query, stateColumns(dout))}
  ${stateTimes(tile, 'b', valueQuad, query, stateColumns(dout), (_, c) => stateSum(query, dout, c))}
  ${isCausal ? inChunk : ''}
  let badBound = marks[4u * head + 2u];
  ${store('dkey', key.width, (i, g) => `b${i}_${g} * ${derivativeOf[featureMap](feature(i, g))}`)}
  ${store('dvalue', value.width, (i, g) => `a${i}_${g}`)}
}`,
  };
}
