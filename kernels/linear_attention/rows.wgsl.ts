import {
  columnsOf,
  declareRowChunks,
  hideKeys,
  overKeyTiles,
  partColumns,
  rowPlace,
  stateAt,
  type StatePart,
  stateSum,
  stateTimes,
  timesState,
} from '../common/webgpu/chunk_products.wgsl.js';
import type { Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { boundFunction, ROW_STATES, vec4 } from '../common/webgpu/prepare.wgsl.js';
import { byState } from '../common/webgpu/probe_attention.wgsl.js';
import { copyOwnRows, rawColumns, rawInputs } from '../common/webgpu/raw_inputs.wgsl.js';
import type { Slot } from '../common/webgpu/row_layout.js';
import { rowStore } from '../common/webgpu/row_store.js';
import { type BufferType, type ParamType, type Shader, unroll } from '../common/webgpu/shader.js';
import {
  accumulateWeights,
  blockRowsOf,
  type Columns,
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
  /** Where sums over keys hold those of key and value. */
  readonly state: StatePart;
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

/** What the kernel of the output reads: rows, keys and values that a pass has prepared, or the call's inputs. */
export interface RowsSource {
  readonly key: string;
  readonly params: Readonly<Record<string, ParamType>>;
  readonly buffers: Readonly<Record<string, BufferType>>;
  readonly text: string;
  /** Makes the rows ready and declares `state{i}`, what each comes out as. */
  readonly begin: (tile: Tile) => string;
  readonly keys: Columns;
  readonly values: Columns;
}

/** `state{i}` of prepared rows. */
const readStates = (tile: Tile): string => perRow(tile, (i) => `let state${i} = rowInfo[row${i}].y;`, ' ');

/** Rows, keys and values as `forPrepared` leaves them. */
export const preparedSource = ({ key, value, isCausal }: LinearShape): RowsSource => ({
  key: 'prepared',
  params: {},
  buffers: {
    rows: vec4('read'),
    rowInfo: { access: 'read', element: 'vec2f' },
    ...(isCausal && { preparedKey: vec4('read'), preparedValue: vec4('read') }),
  },
  text: '',
  begin: readStates,
  keys: columnsOf('preparedKey', 'Tkp', key),
  values: columnsOf('preparedValue', 'Tkp', value),
});

/** The inputs themselves: a workgroup copies its own rows, and keys and values are read where they are staged. */
export function rawSource(
  { query: vectors, isCausal }: LinearShape,
  slots: { readonly query: Slot; readonly key: Slot; readonly value: Slot },
  hasMask: boolean,
): RowsSource {
  const { query, key, value } = slots;
  const { buffers, text } = rawInputs([query], isCausal ? [key, value] : [], hasMask);
  const place = (tile: Tile) => (i: number) => `(firstRow + ${rowPlace(tile)(i)})`;
  return {
    key: `raw ${JSON.stringify([slots, hasMask])}`,
    params: { headsPerBatch: 'u32' },
    buffers: { ...buffers, rows: vec4('read_write') },
    text,
    begin: (tile) => copyOwnRows(tile, { slot: query, place: place(tile), vectors, hasMask }),
    keys: rawColumns(key),
    values: rawColumns(value),
  };
}

/**
 * Sums of a tile's rows over the keys that they see: `a += sum_j a_ij v_j` and, normalised, `n += sum_j a_ij`; `each` sees the quads
 * `w{i}`, number `t threadsX + tx`, of the rows.
 */
function sumOverKeys(
  shape: LinearShape,
  { keys, values }: Pick<RowsSource, 'keys' | 'values'>,
  each: (i: number) => string = () => '',
): string {
  const { tile, query, key, value, state, isCausal, normalize } = shape;
  const row = (i: number, c: string): string => rowQuad(shape, query, i, c);
  const fromState = (i: number): string => `
    ${normalize ? `n${i} += dot(w${i}, ${stateSum(key, state.right, `t * ${tile.threadsX}u + tx`)});` : ''}
    ${each(i)}`;
  const inChunk = (of: Tile): string => `
    ${products(of, keys, [{ name: 's', row }])}
    ${hideKeys(of, 's')}
    ${normalize ? perRow(of, (i) => `n${i} += s${i}_0 + s${i}_1 + s${i}_2 + s${i}_3;`, ' ') : ''}
    ${accumulateWeights(of, 'a', (i) => quadOf('s', i), values)}`;
  return `
  ${declareAccumulator(tile, 'a', value.width)}
  ${normalize ? perRow(tile, (i) => `var n${i} = 0.0;`, ' ') : ''}
  ${timesState(tile, 'a', row, key, partColumns(state, value), fromState)}
  ${isCausal ? overKeyTiles(tile, inChunk) : ''}
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

const places = ({ tile, isCausal, key, state }: LinearShape): string => `
  let head = workgroup.x;
  let firstRow = workgroup.y * ${blockRowsOf(tile)}u;
  ${perRow(tile, (i) => `let row${i} = head * params.Tqp + firstRow + ${rowPlace(tile)(i)};`)}
  ${declareRowChunks(tile, isCausal)}
  let state = ${stateAt('firstChunk', 'keyChunks', key, state.right)};`;

/** Writes `value(i, g)` to the rows of a tensor `[heads, Tq, ..]`, by the rows' states. */
const storeRows = (tile: Tile, name: string, width: number, value: (i: number, g: number) => string): string =>
  perRow(
    tile,
    (i) => `{
    let i = firstRow + ${rowPlace(tile)(i)};
    if (i < params.Tq) {
      ${unroll(groupsOf(tile, width), (g) => `store_${name}((params.firstHead + head) * params.Tq + i, tx + ${tile.threadsX * g}u, ${byState(i, value(i, g))});`)}
    }
  }`,
  );

/**
 * `out`: `f_i (phi(q_i)^T S + sum over the chunk's own keys)`. One workgroup a tile of query rows. `hasProbe`: their queries come out,
 * too, as `probe`.
 */
export function linearRowsShader(shape: LinearShape, source: RowsSource, hasProbe = false): Shader {
  const { tile, D, Dv, value } = shape;
  const out = rowStore('out', Dv);
  const probe = hasProbe ? rowStore('probe', D) : undefined;
  const storeProbe = (i: number): string => `{
      let i = firstRow + ${rowPlace(tile)(i)};
      if (i < params.Tq) { store_probe((params.firstHead + head) * params.Tq + i, t * ${tile.threadsX}u + tx, ${byState(i, `w${i}`)}); }
    }`;
  return {
    key: `linearRows ${JSON.stringify(shape)} ${source.key} ${hasProbe}`,
    workgroupSize: threadsOf(tile),
    params: { ...linearParams, ...source.params },
    buffers: { ...source.buffers, states: vec4('read'), out: out.buffer, ...(probe && { probe: probe.buffer }) },
    workgroupBytes: tileBytes(tile),
    text: () => `
${head(shape)}
${source.text}
${out.text}
${probe?.text ?? ''}
${declareTile(tile)}
${mainHead(tile)}
  ${places(shape)}
  ${source.begin(tile)}
  ${sumOverKeys(shape, source, hasProbe ? storeProbe : undefined)}
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
  const { tile, D, query, dout, key, value, state, isCausal, normalize, featureMap } = shape;
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
  const sum = (i: number, c: string): string => `c${i} * ${stateSum(key, state.right, c)}`;
  const source = preparedSource(shape);
  const inChunk = (of: Tile): string => `
    ${products(of, source.values, [{ name: 's', row: scaled }])}
    ${perRow(of, (i) => unroll(4, (j) => `s${i}_${j} += c${i};`, ' '))}
    ${hideKeys(of, 's')}
    ${accumulateWeights(of, 'b', (i) => quadOf('s', i), source.keys)}`;
  const feature = (i: number, g: number): string => rowQuad(shape, query, i, `tx + ${tile.threadsX * g}u`);
  return {
    key: `linearRowsGrad ${JSON.stringify(shape)}`,
    workgroupSize: threadsOf(tile),
    params: linearParams,
    buffers: {
      ...source.buffers,
      rows: vec4('read_write'),
      states: vec4('read'),
      dquery: dquery.buffer,
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${head(shape)}
${dquery.text}
${declareTile(tile)}
${mainHead(tile)}
  ${places(shape)}
  ${source.begin(tile)}
  ${normalize ? sumOverKeys(shape, source) : ''}
  ${declareFactors(shape)}
  ${factors()}
  ${declareAccumulator(tile, 'b', key.width)}
  ${stateTimes(tile, 'b', scaled, key, partColumns(state, value), sum)}
  ${isCausal ? overKeyTiles(tile, inChunk) : ''}
  ${storeRows(tile, 'dquery', key.width, (i, g) => `b${i}_${g} * ${derivativeOf[featureMap](feature(i, g))}`)}
}`,
  };
}
