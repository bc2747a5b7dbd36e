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
  takeTile,
  weightsAgain,
  type WeightSource,
} from '../common/webgpu/conjugate_gradient.wgsl.js';
import { refineMeans } from '../common/webgpu/differences.wgsl.js';
import { boundFunction, ROW_STATES } from '../common/webgpu/prepare.wgsl.js';
import {
  type AttentionShape,
  byState,
  directivesOf,
  flagging,
  keyColumns,
  preparedBuffers,
  readUnits,
  shapeKey,
  shapeParams,
} from '../common/webgpu/probe_attention.wgsl.js';
import { type InfoRowLayout, rowQuad } from '../common/webgpu/row_layout.js';
import { rowStoreOf } from '../common/webgpu/row_store.js';
import { type Shader, unroll } from '../common/webgpu/shader.js';
import { declareBounds, declareSoftmax, finishScores, onlineSoftmax } from '../common/webgpu/softmax_weights.wgsl.js';
import {
  accumulate,
  declareAccumulator,
  declareTile,
  groupsOf,
  mainHead,
  operand,
  overColumns,
  perRow,
  products,
  productsAgain,
  quadOf,
  readAccumulator,
  reduceRows,
  stageNext,
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
  const value = { ...keyColumns('preparedValue', Dvp), region: tile.buffers === undefined ? 0 : 1 };
  const [out, probe] = [rowStoreOf('out', 'params.Dv', isAlignedDv), rowStoreOf('probe', 'params.D', isAlignedD)];
  const [plain, centred] = layout.slots.map(({ offset }) => offset);
  const query = (i: number, c: string): string => rowQuad(layout, `row${i}`, plain, c);
  const solver: WeightSource = { tile, key, query, isKept, hasKeyTerms };
  const kept = keptBy(solver);
  const finished = finishScores(tile, 's', hasKeyTerms);
  const column = (g: number): string => `tx + ${tile.threadsX * g}u`;
  const right = (i: number, g: number): string =>
    `select(vec4f(), ${rowQuad(layout, `row${i}`, centred, column(g))} - kbar, info${i}.y == ORDINARY)`;
  // Weights are below 2^15, products with a key minus its mean below twice its length times the probe's.
  const lastUnit = `(8.0 * max(1.0, unit_u * ${key.unit}))`;
  const probeSet = { name: 'u', row: direction(solver), isSplit: true };
  const { buffers, params } = flagging(shape);
  const tau = (i: number, q: number): string =>
    tile.matrices
      ? `(${quadOf('u', i, q)} + (1.0 - meanProduct${i}))`
      : `((${quadOf('u', i, q)} - meanProduct${i}) + (1.0 - rest_meanProduct${i}))`;
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
    key: `localLinearAttention ${shapeKey(shape)} ${isKept} ${layout.quads}`,
    workgroupSize: threadsOf(tile),
    params: { ...shapeParams, ...solverParams, ...params },
    ...directivesOf(tile),
    buffers: {
      rows: { access: 'read', element: 'vec4f' },
      ...preparedBuffers(tile),
      ...buffers,
      ...(hasKeyTerms && { keyTerms: { access: 'read', element: 'vec4f' } as const }),
      out: out.buffer,
      probe: probe.buffer,
      ...solverBuffers(tile),
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
  ${takeTile(shape)}
  ${readUnits(shape, layout)}
  ${perRow(tile, (i) => `let info${i} = ${rowQuad(layout, `row${i}`, layout.info, '0u')};`)}
  ${declareBounds(tile, 'firstRow')}
  ${declareSoftmax(tile)}
  ${declareAccumulator(tile, 'a', key.width)}
  ${operand(tile, { name: 's', row: query }, key.width)}
  ${overColumns(
    tile,
    [key],
    'keyTiles',
    `${products(tile, key, [{ name: 's', row: query }])}
    ${finished}
    ${onlineSoftmax(tile, [{ name: 'a', width: key.width }], [], { columns: key, isStaged: true }, `${productsAgain(tile, 's', key)} ${finished}`, kept, { first: stageNext(tile, [key]), again: '' })}
    ${accumulate(tile, 'a', key, true, true)}`,
  )}
  ${readAccumulator(tile, 'a', key.width, `${key.unit}`)}
  ${reduceRows(tile, ['l'], 'sum')}
  ${perRow(tile, (i) => `let inverse${i} = 1.0 / max(l${i}, 1e-37);`, ' ')}
  ${beginSolve(solver, 'a', right)}
  ${iterate(solver)}
  ${finishSolve(solver)}
  ${tile.matrices ? '' : refineMeans(solver, [{ mean: 'meanProduct', size: 'size', row: direction(solver) }])}
  ${declareAccumulator(tile, 'o', value.width)}
  ${operand(tile, probeSet, key.width)}
  ${overColumns(
    tile,
    [key, value],
    'keyTiles',
    `${weightsAgain(solver, [probeSet])}
    ${storeWeights(tile, (i, q) => `w${i}_${q} * ${tau(i, q)}`, lastUnit)}
    ${stageNext(tile, [key, value])}
    ${accumulate(tile, 'o', value, false)}`,
  )}
  ${readAccumulator(tile, 'o', value.width, `(${lastUnit} * ${value.unit})`)}
  ${perRow(tile, storeRow)}
  storageBarrier();
  workgroupBarrier();
  }
}`,
  };
}
