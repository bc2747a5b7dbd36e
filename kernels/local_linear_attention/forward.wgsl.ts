import {
  beginSolve,
  direction,
  finishSolve,
  iterate,
  keptBy,
  nextTile,
  targetFunction,
  solution,
  solverBuffers,
  solverParams,
  refineMeans,
  weightsAgain,
  type WeightSource,
} from '../common/webgpu/conjugate_gradient.wgsl.js';
import { boundFunction, ROW_STATES } from '../common/webgpu/prepare.wgsl.js';
import {
  type AttentionShape,
  byState,
  keyColumns,
  shapeKey,
  shapeParams,
} from '../common/webgpu/probe_attention.wgsl.js';
import { type InfoRowLayout, rowQuad } from '../common/webgpu/row_layout.js';
import { rowStoreOf } from '../common/webgpu/row_store.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import {
  declareBounds,
  declareSoftmax,
  finishScores,
  keptQuad,
  onlineSoftmax,
} from '../common/webgpu/softmax_weights.wgsl.js';
import {
  accumulate,
  declareAccumulator,
  declareTile,
  groupsOf,
  mainHead,
  perRow,
  products,
  quadOf,
  reduceRows,
  storeWeights,
  threadsOf,
  tileBytes,
} from '../common/webgpu/tile.wgsl.js';

/**
 * Blockwise local linear attention. A running workgroup takes tiles of query rows until none is left: it computes the
 * weights of a tile and their mean key in one pass over the keys, then makes a pass per iteration of conjugate gradient,
 * then one over the values. The weights are kept in the workgroup's region of `work` or computed anew in every pass.
 *
 * `layout` has the query in its first slot, the query minus the keys' centre in its second.
 */
export function localLinearAttentionShader(shape: AttentionShape, layout: InfoRowLayout, isKept: boolean): Shader {
  const { tile, Dp, Dvp, isAlignedD, isAlignedDv, hasKeyTerms } = shape;
  const key = keyColumns('preparedKey', Dp);
  const value = keyColumns('preparedValue', Dvp);
  const [out, probe] = [rowStoreOf('out', 'params.Dv', isAlignedDv), rowStoreOf('probe', 'params.D', isAlignedD)];
  const [plain, centred] = layout.slots.map(({ offset }) => offset);
  const query = (i: number, c: string): string => rowQuad(layout, `row${i}`, plain, c);
  const solver: WeightSource = { tile, key, query, isKept, hasKeyTerms };
  const kept = keptBy(solver);
  const column = (g: number): string => `tx + ${tile.threadsX * g}u`;
  const right = (i: number, g: number): string =>
    `select(vec4f(), ${rowQuad(layout, `row${i}`, centred, column(g))} - kbar, info${i}.y == ORDINARY)`;
  const storeRow = (i: number): string => `{
    let i = firstRow + ty + ${tile.threadsY * i}u;
    let state${i} = info${i}.y;
    let target_row = (params.firstHead + head) * params.Tq + i;
    if (i < params.Tq) {
      ${unroll(groupsOf(tile, value.width), (g) => `store_out(target_row, ${column(g)}, ${byState(i, `o${i}_${g} * inverse${i}`)});`)}
      ${unroll(groupsOf(tile, key.width), (g) => `store_probe(target_row, ${column(g)}, ${byState(i, solution(solver, i, g))});`)}
    }
  }`;
  return {
    key: `localLinearAttention ${shapeKey(shape)} ${isKept}`,
    workgroupSize: threadsOf(tile),
    params: { ...shapeParams, ...solverParams },
    buffers: {
      rows: { access: 'read', element: 'vec4f' },
      preparedKey: { access: 'read', element: 'vec4f' },
      preparedValue: { access: 'read', element: 'vec4f' },
      ...(hasKeyTerms && { keyTerms: { access: 'read', element: 'vec4f' } as const }),
      out: out.buffer,
      probe: probe.buffer,
      ...solverBuffers,
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${ROW_STATES}
${boundFunction('by uniform')}
${out.text}
${probe.text}
${targetFunction(Dp)}
${declareTile(tile)}
${mainHead(tile)}
  ${nextTile(tile)}
  ${perRow(tile, (i) => `let info${i} = ${rowQuad(layout, `row${i}`, layout.info, '0u')};`)}
  ${declareBounds(tile, 'firstRow')}
  ${declareSoftmax(tile)}
  ${declareAccumulator(tile, 'a', key.width)}
  for (var t = 0u; t < keyTiles; t++) {
    ${products(tile, key, [{ name: 's', row: query }])}
    ${finishScores(tile, 's', hasKeyTerms)}
    ${onlineSoftmax(tile, [{ name: 'a', width: key.width }], [], kept)}
    ${storeWeights(tile, (i) => `p${i}`)}
    ${kept ? perRow(tile, (i) => `${keptQuad(tile, kept, i)} = p${i};`) : ''}
    ${accumulate(tile, 'a', key, true)}
  }
  ${reduceRows(tile, ['l'], 'sum')}
  ${perRow(tile, (i) => `let inverse${i} = 1.0 / max(l${i}, 1e-37);`, ' ')}
  ${beginSolve(solver, 'a', right)}
  ${iterate(solver)}
  ${finishSolve(solver)}
  ${refineMeans(solver, [{ mean: 'meanProduct', size: 'size', row: direction(solver) }])}
  ${declareAccumulator(tile, 'o', value.width)}
  for (var t = 0u; t < keyTiles; t++) {
    ${weightsAgain(solver, [{ name: 'u', row: direction(solver) }])}
    ${storeWeights(tile, (i) => `w${i} * (${quadOf('u', i)} + (1.0 - meanProduct${i}))`)}
    ${accumulate(tile, 'o', value, false)}
  }
  ${perRow(tile, storeRow)}
  storageBarrier();
  workgroupBarrier();
  }
}`,
  };
}
