import {
  columnsOf,
  declareRowChunks,
  hideKeys,
  stateAt,
  stateColumns,
  stateSum,
  stateTimes,
  timesState,
} from '../common/webgpu/chunk_products.wgsl.js';
import type { Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { boundFunction, ROW_STATES } from '../common/webgpu/prepare.wgsl.js';
import { byState } from '../common/webgpu/probe_attention.wgsl.js';
import { rowStore } from '../common/webgpu/row_store.js';
import type { ParamType, Shader } from '../common/webgpu/shader.js';
import { unroll } from '../common/webgpu/shader.js';
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
  reduceRows,
  threadsOf,
  type Tile,
  tileBytes,
} from '../common/webgpu/tile.wgsl.js';
import { derivativeOf } from './feature_map.wgsl.js';
import type { FeatureMap } from './spec.js';

/** What the kernels of linear attention are made for. */
export interface LinearShape {
  readonly tile: Tile;
  readonly D: number;
  readonly Dv: number;
  /** `phi(q)` in the prepared rows; `g` behind it and, in a last quad, `-f g.o` in the gradient. */
  readonly query: Vectors;
  readonly dout: Vectors;
  readonly key: Vectors;
  readonly value: Vectors;
  readonly isCausal: boolean;
  readonly normalize: boolean;
  readonly featureMap: FeatureMap;
}

/** Uniforms of all kernels of linear attention. */
export const linearParams: Readonly<Record<string, ParamType>> = {
  firstHead: 'u32',
  Tq: 'u32',
  Tk: 'u32',
  Tqp: 'u32',
  Tkp: 'u32',
  /** Rows of a chunk, the same for queries and keys. */
  chunk: 'u32',
  keyChunks: 'u32',
  rowChunks: 'u32',
  scale: 'f32',
  nan: 'f32',
};

const rowQuad = (shape: LinearShape, { offset }: Vectors, i: number, c: string): string =>
  `rows[row${i} * ${shape.query.stride}u + ${offset}u + ${c}]`;

/** Sums of a tile's rows over the keys that they see: `a += sum_j a_ij v_j` and, normalised, `n += sum_j a_ij`. */
function sumOverKeys(shape: LinearShape): string {
  const { tile, query, key, value, isCausal, normalize } = shape;
  const row = (i: number, c: string): string => rowQuad(shape, query, i, c);
  const fromState = (i: number): string =>
    normalize ? `n${i} += dot(w${i}, ${stateSum(key, value, `t * ${tile.threadsX}u + tx`)});` : '';
  const inChunk = (): string => `
  for (var t = firstTile; t < keyTiles; t++) {
    ${products(tile, columnsOf('preparedKey', 'Tkp', key), [{ name: 's', row }])}
    ${hideKeys(tile, 's')}
    ${normalize ? perRow(tile, (i) => `n${i} += s${i}_0 + s${i}_1 + s${i}_2 + s${i}_3;`, ' ') : ''}
    ${accumulateWeights(tile, 'a', (i) => quadOf('s', i), columnsOf('preparedValue', 'Tkp', value))}
  }`;
  return `
  ${declareAccumulator(tile, 'a', value.width)}
  ${normalize ? perRow(tile, (i) => `var n${i} = 0.0;`, ' ') : ''}
  ${timesState(tile, 'a', row, key, stateColumns(value), fromState)}
  ${isCausal ? inChunk() : ''}
  ${normalize ? reduceRows(tile, ['n'], 'sum') : ''}`;
}

/** `f{i}`, what the sums of a row are multiplied by; 0 where the normaliser is. */
const declareFactors = ({ tile, normalize }: LinearShape): string =>
  perRow(tile, (i) =>
    normalize ? `let f${i} = select(1.0 / n${i}, 0.0, n${i} == 0.0);` : `let f${i} = params.scale;`,
  );

const head = (shape: LinearShape): string => `
${ROW_STATES}
${boundFunction(shape.isCausal)}`;

const places = ({ tile, isCausal, key, value }: LinearShape): string => `
  let head = workgroup.x;
  let firstRow = workgroup.y * ${blockRowsOf(tile)}u;
  ${perRow(tile, (i) => `let row${i} = head * params.Tqp + firstRow + ty + ${tile.threadsY * i}u;`)}
  ${declareRowChunks(tile, isCausal)}
  let state = ${stateAt('firstChunk', 'keyChunks', key, value)};`;

/** Writes `value(i, g)` to the rows of a tensor `[heads, Tq, ..]`, by the rows' states. */
const storeRows = (tile: Tile, name: string, width: number, value: (i: number, g: number) => string): string =>
  perRow(
    tile,
    (i) => `{
    let i = firstRow + ty + ${tile.threadsY * i}u;
    let state${i} = rowInfo[row${i}].y;
    if (i < params.Tq) {
      ${unroll(groupsOf(tile, width), (g) => `store_${name}((params.firstHead + head) * params.Tq + i, tx + ${tile.threadsX * g}u, ${byState(i, value(i, g))});`)}
    }
  }`,
  );

/** `out`: `f_i (phi(q_i)^T S + sum over the chunk's own keys)`. One workgroup a tile of query rows. */
export function linearRowsShader(shape: LinearShape): Shader {
  const { tile, Dv, value } = shape;
  const out = rowStore('out', Dv);
  return {
    key: `linearRows ${JSON.stringify(shape)}`,
    workgroupSize: threadsOf(tile),
    params: linearParams,
    buffers: {
      rows: { access: 'read', element: 'vec4f' },
      rowInfo: { access: 'read', element: 'vec2f' },
      ...(shape.isCausal && {
        preparedKey: { access: 'read', element: 'vec4f' } as const,
        preparedValue: { access: 'read', element: 'vec4f' } as const,
      }),
      states: { access: 'read', element: 'vec4f' },
      out: out.buffer,
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${head(shape)}
${out.text}
${declareTile(tile)}
${mainHead(tile)}
  ${places(shape)}
  ${sumOverKeys(shape)}
  ${declareFactors(shape)}
  ${storeRows(tile, 'out', value.width, (i, g) => `a${i}_${g} * f${i}`)}
}`,
  };
}

/**
 * `dquery`: `phi'(q_i) sum_j da_ij phi(k_j)`. On the way it leaves `f_i g_i` in place of `g_i` in the prepared rows and,
 * normalised, `-f_i g_i.o_i` in their last quad: what the keys' gradient needs of a row.
 */
export function linearRowsGradShader(shape: LinearShape): Shader {
  const { tile, D, query, dout, key, value, isCausal, normalize, featureMap } = shape;
  const dquery = rowStore('dquery', D);
  const scaled = (i: number, c: string): string => rowQuad(shape, dout, i, c);
  const last = (i: number): string => rowQuad(shape, { ...dout, offset: query.stride - 1 }, i, '0u');
  const factors = (): string => `
  ${perRow(tile, (i) => `var c${i} = 0.0;`, ' ')}
  ${perRow(tile, (i) =>
    unroll(
      groupsOf(tile, value.width),
      (g) => `{
    let scaled = f${i} * ${scaled(i, `tx + ${tile.threadsX * g}u`)};
    ${normalize ? `c${i} -= dot(scaled, a${i}_${g} * f${i});` : ''}
    ${scaled(i, `tx + ${tile.threadsX * g}u`)} = scaled;
  }`,
    ),
  )}
  ${normalize ? reduceRows(tile, ['c'], 'sum') : ''}
  if (tx == 0u) { ${perRow(tile, (i) => `${last(i)} = vec4f(c${i}, 0.0, 0.0, 0.0);`, ' ')} }
  storageBarrier();
  workgroupBarrier();`;
  const sum = (i: number, c: string): string => `c${i} * ${stateSum(key, value, c)}`;
  const inChunk = (): string => `
  for (var t = firstTile; t < keyTiles; t++) {
    ${products(tile, columnsOf('preparedValue', 'Tkp', value), [{ name: 's', row: scaled }])}
    ${perRow(tile, (i) => unroll(4, (j) => `s${i}_${j} += c${i};`, ' '))}
    ${hideKeys(tile, 's')}
    ${accumulateWeights(tile, 'b', (i) => quadOf('s', i), columnsOf('preparedKey', 'Tkp', key))}
  }`;
  const feature = (i: number, g: number): string => rowQuad(shape, query, i, `tx + ${tile.threadsX * g}u`);
  return {
    key: `linearRowsGrad ${JSON.stringify(shape)}`,
    workgroupSize: threadsOf(tile),
    params: linearParams,
    buffers: {
      rows: { access: 'read_write', element: 'vec4f' },
      rowInfo: { access: 'read', element: 'vec2f' },
      ...(isCausal && {
        preparedKey: { access: 'read', element: 'vec4f' } as const,
        preparedValue: { access: 'read', element: 'vec4f' } as const,
      }),
      states: { access: 'read', element: 'vec4f' },
      dquery: dquery.buffer,
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${head(shape)}
${dquery.text}
${declareTile(tile)}
${mainHead(tile)}
  ${places(shape)}
  ${normalize ? sumOverKeys(shape) : ''}
  ${declareFactors(shape)}
  ${factors()}
  ${declareAccumulator(tile, 'b', key.width)}
  ${stateTimes(tile, 'b', scaled, key, stateColumns(value), sum)}
  ${isCausal ? inChunk() : ''}
  ${storeRows(tile, 'dquery', key.width, (i, g) => `b${i}_${g} * ${derivativeOf[featureMap](feature(i, g))}`)}
}`,
  };
}
