import type { ProbeKind } from './gradient_rows.wgsl.js';
import { boundFunction } from './prepare.wgsl.js';
import { type AttentionShape, shapeKey, shapeParams } from './probe_attention.wgsl.js';
import { type InfoRowLayout, keyStride } from './row_layout.js';
import { rowStoreOf } from './row_store.js';
import { type BufferType, type Shader, unroll } from './shader.js';
import {
  accumulate,
  blockColumnsOf,
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
  storeWeights,
  threadsOf,
  tileBytes,
} from './tile.wgsl.js';

/** What a key's gradients come out as, in `keyInfo` behind what is added to its scores. */
const KEY_STATES = `
const SEEN = 0.0;
const HIDDEN = 1.0;
const SPOILT = 2.0;`;

/** `keyInfo [heads, Tkp]`: what is added to a key's scores, and whether it is hidden or seen by a bad row. */
export function keyInfoShader(): Shader {
  return {
    key: 'keyInfo',
    workgroupSize: 64,
    params: { Tkp: 'u32' },
    buffers: {
      keyTerms: { access: 'read', element: 'f32' },
      marks: { access: 'read', element: 'u32' },
      keyInfo: { access: 'read_write', element: 'vec2f' },
    },
    workgroupBytes: 0,
    text: () => `${KEY_STATES}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let at = id.y * params.Tkp + id.x;
  let term = keyTerms[at];
  let state = select(select(SEEN, SPOILT, id.x < marks[4u * id.y + 2u]), HIDDEN, term < -1e29);
  keyInfo[at] = vec2f(term, state);
}`,
  };
}

/**
 * The part of a gradient that belongs to keys: `dk_j = sum_i scale de_ij q_i + p_ij (eta_ij x_i - tau_ij u_i)`,
 * `dv_j = sum_i p_ij tau_ij g_i` and the bias's `sum_i de_ij`, with the rows' terms of gradient_rows.wgsl.ts. A workgroup
 * owns a block of keys and passes over the queries that see them; nothing is shared, so the sums' order is fixed.
 */
export function gradientKeysShader(
  shape: AttentionShape,
  layout: InfoRowLayout,
  probe: ProbeKind,
  hasBias: boolean,
): Shader {
  const { tile, Dp, Dvp, isAlignedD, isAlignedDv, hasKeyTerms, areKeysSpread = false } = shape;
  const [dkey, dvalue] = [rowStoreOf('dkey', 'params.D', isAlignedD), rowStoreOf('dvalue', 'params.Dv', isAlignedDv)];
  const queries = (offset: number, padded: number): Columns => ({
    buffer: 'rows',
    base: `head * params.Tqp * ${layout.quads}u`,
    stride: layout.quads,
    offset,
    width: padded / 4,
  });
  const [query, cotangent] = layout.slots.map(({ offset, padded }) => queries(offset, padded));
  const given = probe === 'none' ? undefined : queries(layout.slots[2].offset, Dp);
  const adjoint = probe === 'solved' ? queries(layout.extra, Dp) : undefined;
  const key = (i: number, c: string): string => `preparedKey[key${i} * ${keyStride(Dp, areKeysSpread)}u + ${c}]`;
  const value = (i: number, c: string): string => `preparedValue[key${i} * ${keyStride(Dvp, areKeysSpread)}u + ${c}]`;
  const columns = blockColumnsOf(tile);
  const element = (i: number, j: number): string => `{
      let score = fma(s${i}_${j}, params.logScale, ${hasKeyTerms ? `keyInfo${i}.x` : '0.0'}) - term${j}.x;
      var p = exp2(score);
      if (isCut) { p = select(0.0, p, firstKey + ty + ${tile.threadsY * i}u < bound(t * ${columns}u + 4u * tx + ${j}u)); }
      let tau = term${j}.y${given ? ` + t${i}_${j}` : ''};
      let eta = y${i}_${j} + term${j}.z${adjoint ? ` - u${i}_${j}` : ''};
      s${i}_${j} = p * (tau * eta - term${j}.w);
      ${given ? `t${i}_${j} = p * eta;` : ''}
      y${i}_${j} = p * tau;
    }`;
  // A row whose products with its mean key are large has `y.x` and `y.u` from differences of keys, not of products.
  const isClose = (j: number): string => `rows[column${j} + ${layout.info}u].w != 0.0`;
  const careful = (j: number): string => `if (${isClose(j)}) {
      ${perRow(tile, (i) => `t${i}_${j} = 0.0; u${i}_${j} = 0.0;`, ' ')}
      for (var c = 0u; c < ${Dp / 4}u; c++) {
        let mean = rows[column${j} + ${layout.extra + Dp / 4}u + c];
        let x = rows[column${j} + ${given?.offset ?? 0}u + c];
        let u = rows[column${j} + ${layout.extra}u + c];
        ${perRow(tile, (i) => `{ let y = ${key(i, 'c')} - mean; t${i}_${j} += dot(y, x); u${i}_${j} += dot(y, u); }`, ' ')}
      }
    }`;
  const add = (sum: string, weight: (i: number) => string, from: Columns, isStaged: boolean): string => `
    workgroupBarrier();
    ${storeWeights(tile, weight)}
    ${accumulate(tile, sum, from, isStaged)}`;
  const result = (i: number, x: string): string =>
    `select(select(${x}, vec4f(), keyInfo${i}.y == HIDDEN), vec4f(params.nan), keyInfo${i}.y == SPOILT)`;
  const storeKey = (i: number): string => `{
    let j = firstKey + ty + ${tile.threadsY * i}u;
    let target_row = (params.firstHead + head) * params.Tk + j;
    if (j < params.Tk) {
      ${unroll(groupsOf(tile, Dp / 4), (g) => `store_dkey(target_row, tx + ${tile.threadsX * g}u, ${result(i, `k${i}_${g}`)});`)}
      ${unroll(groupsOf(tile, Dvp / 4), (g) => `store_dvalue(target_row, tx + ${tile.threadsX * g}u, ${result(i, `v${i}_${g}`)});`)}
      ${hasBias ? `if (tx == 0u) { dkeyBias[target_row] = ${result(i, `vec4f(bias${i})`)}.x; }` : ''}
    }
  }`;
  const vec4: BufferType = { access: 'read', element: 'vec4f' };
  return {
    key: `gradientKeys ${shapeKey(shape)} ${probe} ${hasBias}`,
    workgroupSize: threadsOf(tile),
    params: shapeParams,
    buffers: {
      rows: vec4,
      preparedKey: vec4,
      preparedValue: vec4,
      keyInfo: { access: 'read', element: 'vec2f' },
      terms: vec4,
      dkey: dkey.buffer,
      dvalue: dvalue.buffer,
      ...(hasBias && { dkeyBias: { access: 'read_write', element: 'f32' } as const }),
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${KEY_STATES}
${boundFunction('by uniform')}
${dkey.text}
${dvalue.text}
${declareTile(tile)}
${mainHead(tile)}
  let head = workgroup.x;
  let firstKey = workgroup.y * ${blockRowsOf(tile)}u;
  if (firstKey >= params.Tk) { return; }
  ${perRow(tile, (i) => `let key${i} = head * params.Tkp + firstKey + ty + ${tile.threadsY * i}u; let keyInfo${i} = keyInfo[key${i}];`)}
  ${declareAccumulator(tile, 'k', Dp / 4)}
  ${declareAccumulator(tile, 'v', Dvp / 4)}
  ${hasBias ? perRow(tile, (i) => `var bias${i} = 0.0;`, ' ') : ''}
  let firstQuery = select(0u, u32(max(0i, i32(firstKey + params.Tq) - i32(params.Tk))), params.isCausal != 0u);
  let queryTiles = (params.Tq + ${columns - 1}u) / ${columns}u;
  for (var t = firstQuery / ${columns}u; t < queryTiles; t++) {
    ${products(tile, query, [{ name: 's', row: key }])}
    ${products(tile, cotangent, [{ name: 'y', row: value }])}
    ${given ? products(tile, given, [{ name: 't', row: key }]) : ''}
    ${adjoint ? products(tile, adjoint, [{ name: 'u', row: key }]) : ''}
    ${adjoint ? unroll(4, (j) => `let column${j} = (head * params.Tqp + t * ${columns}u + 4u * tx + ${j}u) * ${layout.quads}u;`) : ''}
    ${adjoint ? unroll(4, careful) : ''}
    ${unroll(4, (j) => `let term${j} = terms[head * params.Tqp + t * ${columns}u + 4u * tx + ${j}u];`)}
    let isCut = bound(t * ${columns}u) < firstKey + ${blockRowsOf(tile)}u;
    ${perRow(tile, (i) => unroll(4, (j) => element(i, j)))}
    ${hasBias ? perRow(tile, (i) => `bias${i} += s${i}_0 + s${i}_1 + s${i}_2 + s${i}_3;`) : ''}
    ${adjoint ? add('k', (i) => `-${quadOf('y', i)}`, adjoint, true) : ''}
    ${given ? add('k', (i) => quadOf('t', i), given, !adjoint) : ''}
    ${add('v', (i) => quadOf('y', i), cotangent, !given)}
    ${add('k', (i) => `params.scale * ${quadOf('s', i)}`, query, false)}
  }
  ${hasBias ? reduceRows(tile, ['bias'], 'sum') : ''}
  ${perRow(tile, storeKey)}
}`,
  };
}
