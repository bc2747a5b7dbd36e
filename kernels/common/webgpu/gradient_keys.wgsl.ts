import { flaggedKeys, isFlaggedRow } from './coarse_tiles.wgsl.js';
import { imageOffset, imageQuads, imagesOf, RECORDS } from './gradient_images.wgsl.js';
import type { ProbeKind } from './gradient_rows.wgsl.js';
import { halfElement } from './matrix.wgsl.js';
import { boundFunction } from './prepare.wgsl.js';
import {
  type AttentionShape,
  directivesOf,
  flagging,
  preparedBuffers,
  shapeKey,
  shapeParams,
} from './probe_attention.wgsl.js';
import { type InfoRowLayout, keyStride } from './row_layout.js';
import { rowStoreOf } from './row_store.js';
import { type BufferType, type Shader, unroll } from './shader.js';
import {
  accumulate,
  addWeighted,
  blockColumnsOf,
  blockRowsOf,
  type ColumnProducts,
  type Columns,
  declareAccumulator,
  declareProducts,
  declareTile,
  groupsOf,
  isMatrixTile,
  loopOverColumns,
  mainHead,
  makeProducts,
  type MatrixTile,
  operand,
  perRow,
  type Products,
  products,
  quadOf,
  readAccumulator,
  reduceRows,
  type StagedExtra,
  type StagedProducts,
  stageNext,
  storeHalves,
  storeWeights,
  threadsOf,
  tileBytes,
  type WeightedColumns,
} from './tile.wgsl.js';

/**
 * The last number of a row's info: zero, or that of a row for which the pass over keys takes differences of vectors where it
 * otherwise takes differences of products: keys minus the mean key behind `u`. From this number on the mean, the scores and `Gamma` are
 * relative to a key, `closeTo`.
 */
const NEAR_KEY = '2.0';
export const closeTo = (key: string): string => `(${NEAR_KEY} + f32(${key}))`;

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
 *
 * By matrices the rows' vectors are half-precision images in a unit a row (gradient_images.wgsl.ts), which the weights carry; all
 * weights of a head share one scale more. `-u` is in units that let `dout.v - k.u` be one sum, and the weights of both be the same.
 * Rows of flagged tiles are not among them: the same kernel in float32 adds their share.
 */
export function gradientKeysShader(
  shape: AttentionShape,
  layout: InfoRowLayout,
  probe: ProbeKind,
  hasBias: boolean,
): Shader {
  const { tile, Dp, Dvp, isAlignedD, isAlignedDv, hasKeyTerms, isSecond } = shape;
  const { matrices, buffers = 1 } = tile;
  const dkey = rowStoreOf('dkey', 'params.D', isAlignedD, isSecond);
  const dvalue = rowStoreOf('dvalue', 'params.Dv', isAlignedDv, isSecond);
  const images = imagesOf(layout, probe);
  const columnsOf = (region: number): Columns => {
    const { offset, padded } = images[region];
    return matrices
      ? {
          buffer: 'images',
          base: `head * params.Tqp * ${imageQuads(images)}u`,
          stride: imageQuads(images),
          offset: imageOffset(images, region),
          width: padded / 4,
          region,
        }
      : {
          buffer: 'rows',
          base: `head * params.Tqp * ${layout.quads}u`,
          stride: layout.quads,
          offset,
          width: padded / 4,
        };
  };
  const [query, cotangent] = [columnsOf(0), columnsOf(1)];
  const given = probe === 'none' ? undefined : columnsOf(2);
  const adjoint = probe === 'solved' ? columnsOf(3) : undefined;
  const key = (i: number, c: string): string => `preparedKey[key${i} * ${keyStride(Dp, !matrices)}u + ${c}]`;
  const value = (i: number, c: string): string => `preparedValue[key${i} * ${keyStride(Dvp, !matrices)}u + ${c}]`;
  const columns = blockColumnsOf(tile);
  const keys = (name: string): Products => ({ name, row: key, operand: 'key', unit: 'keyUnit' });
  const values = (name: string): Products => ({ name, row: value, operand: 'value', unit: 'valueUnit' });
  const columnOf = (j: number): string =>
    `t * ${columns}u + 4u * (tx + ${tile.threadsX * Math.floor(j / 4)}u) + ${j % 4}u`;
  const perColumn = (text: (j: number) => string): string => unroll(4 * tile.quads, text);
  const weight = (i: number, score: string, logSum: string): string => `
      var p = exp2(fma(${score}, params.logScale, ${hasKeyTerms ? `keyInfo${i}.x` : '0.0'}) - ${logSum});
      if (isCut) { p = select(0.0, p, firstKey + ty + ${tile.threadsY * i}u < bound(i)); }`;
  const element = (i: number, j: number): string => `{
      ${weight(i, `s${i}_${j}`, 'term.x')}
      let tau = term.y${given ? ` + t${i}_${j}` : ''};
      let eta = y${i}_${j} + term.z${adjoint ? ` - u${i}_${j}` : ''};
      let de = p * (tau * eta - term.w);
      ${hasBias ? `bias${i} += de;` : ''}
      s${i}_${j} = de;
      ${given ? `t${i}_${j} = p * eta;` : ''}
      y${i}_${j} = p * tau;
    }`;
  const elements = (j: number): string => `{
      let i = ${columnOf(j)};
      let term = terms[head * params.Tqp + i];
      ${perRow(tile, (r) => element(r, j))}
    }`;
  // A row whose products with its mean key are large has `y.x` and `y.u` from differences of keys, not of products; one that is
  // relative to a key has its scores and Gamma from there as well.
  const careful = (j: number): string => `let close${j} = rows[column${j} + ${layout.info}u].w;
    if (close${j} != 0.0) {
      let isRelative = close${j} >= ${NEAR_KEY};
      let base = head * params.Tkp + u32(max(close${j} - ${NEAR_KEY}, 0.0));
      ${perRow(tile, (i) => `t${i}_${j} = 0.0; u${i}_${j} = 0.0; if (isRelative) { s${i}_${j} = 0.0; y${i}_${j} = 0.0; }`, ' ')}
      for (var c = 0u; c < ${Dp / 4}u; c++) {
        let mean = rows[column${j} + ${layout.extra + Dp / 4}u + c];
        let x = rows[column${j} + ${given?.offset ?? 0}u + c];
        let u = rows[column${j} + ${layout.extra}u + c];
        let q = rows[column${j} + ${query.offset}u + c];
        var origin = vec4f();
        if (isRelative) { origin = preparedKey[base * ${keyStride(Dp, true)}u + c]; }
        ${perRow(
          tile,
          (i) => `{ let z = ${key(i, 'c')} - origin; let y = z - mean; t${i}_${j} += dot(y, x); u${i}_${j} += dot(y, u);
          if (isRelative) { s${i}_${j} += dot(z, q); } }`,
          ' ',
        )}
      }
      if (isRelative) {
        for (var c = 0u; c < ${Dvp / 4}u; c++) {
          let g = rows[column${j} + ${cotangent.offset}u + c];
          let origin = preparedValue[base * ${keyStride(Dvp, true)}u + c];
          ${perRow(tile, (i) => `y${i}_${j} += dot(${value(i, 'c')} - origin, g);`, ' ')}
        }
      }
    }`;
  const pairs: readonly ColumnProducts[] = [
    { columns: query, set: keys('s') },
    { columns: cotangent, set: values('y') },
    ...(given ? [{ columns: given, set: keys('t') }] : []),
    ...(adjoint ? [{ columns: adjoint, set: keys('u') }] : []),
  ];
  const ofQuery = (i: number, q: number): string => `params.scale * ${quadOf('s', i, q)}`;
  const sums: readonly WeightedColumns[] = [
    ...(adjoint ? [{ name: 'k', columns: adjoint, value: (i: number, q: number) => `-${quadOf('y', i, q)}` }] : []),
    ...(given ? [{ name: 'k', columns: given, value: (i: number, q: number) => quadOf('t', i, q) }] : []),
    { name: 'v', columns: cotangent, value: (i, q) => quadOf('y', i, q) },
    { name: 'k', columns: query, value: ofQuery },
  ];
  const floatStep = (): string => `
    ${pairs.map(({ columns, set }) => products(tile, columns, [set])).join('\n')}
    ${adjoint ? perColumn((j) => `let column${j} = (head * params.Tqp + ${columnOf(j)}) * ${layout.quads}u;\n${careful(j)}`) : ''}
    let isCut = bound(t * ${columns}u) < firstKey + ${blockRowsOf(tile)}u;
    ${perColumn(elements)}
    ${sums
      .map(
        ({ name, columns, value }, at) =>
          `workgroupBarrier();\n${storeWeights(tile, value)}\n${accumulate(tile, name, columns, at === 0)}`,
      )
      .join('\n')}`;

  // By matrices. A column's terms and units, staged with the columns.
  const records = 2 * columns;
  const staging: StagedExtra = {
    ask: (t) =>
      `var record: vec4f; if (tid < ${records}u) { record = records[2u * head * params.Tqp + ${t} * ${records}u + tid]; }`,
    write: (buffer) => `if (tid < ${records}u) { stagedRecords[${buffer}][tid % 2u][tid / 2u] = record; }`,
  };
  const stagedColumns = [query, cotangent, given, adjoint].filter((one) => one !== undefined);
  /** Statements for a thread's numbers of a column, with its records. */
  const ofColumns = (text: (i: number, j: number) => string): string =>
    perColumn(
      (j) => `{
      let at = 4u * (tx + ${tile.threadsX * Math.floor(j / 4)}u) + ${j % 4}u;
      let first = stagedRecords[${buffers === 2 ? 'buffer' : '0'}][0][at]; let second = stagedRecords[${buffers === 2 ? 'buffer' : '0'}][1][at];
      let i = t * ${columns}u + at;
      ${perRow(tile, (r) => `{ ${text(r, j)} }`)}
    }`,
    );
  const ofEta: StagedProducts = {
    name: 'y',
    parts: [{ operand: 'value', columns: cotangent }, ...(adjoint ? [{ operand: 'key', columns: adjoint }] : [])],
    unit: 'unit_value',
  };
  const ofScores: StagedProducts = { name: 's', parts: [{ operand: 'key', columns: query }], unit: 'unit_key' };
  // Leaves the weights of dout and u in `y`, of the query in `s`.
  const finish = (i: number, j: number, tau: string): string => `
      let tau = ${tau};
      let p = s${i}_${j};
      let de = p * (tau * y${i}_${j} - second.z);
      ${hasBias ? `bias${i} += de;` : ''}
      s${i}_${j} = de * queryUnit(second);
      y${i}_${j} = p * tau * second.w;`;
  const begin = (i: number, j: number): string => `
      ${weight(i, `s${i}_${j} * queryUnit(first)`, 'first.y')}
      s${i}_${j} = p;
      y${i}_${j} = fma(y${i}_${j}, first.z, first.w);`;
  const probeStep = (tile: MatrixTile, given: Columns): string => `
    ${declareProducts(tile, 't')}
    ${ofColumns((i, j) => `${begin(i, j)} t${i}_${j} = p * y${i}_${j} * probeUnit(first);`)}
    ${storeHalves(tile, (i, q) => quadOf('t', i, q), 'keyWeightUnit', 0)}
    workgroupBarrier();
    ${addWeighted(tile, [{ name: 'k', columns: given, area: 0 }])}
    ${makeProducts(tile, [{ name: 't', parts: [{ operand: 'key', columns: given }], unit: 'unit_key' }])}
    ${ofColumns((i, j) => finish(i, j, `fma(t${i}_${j}, probeUnit(second), second.y)`))}`;
  const matrixStep = (tile: MatrixTile): string => `
    ${['s', 'y'].map((name) => declareProducts(tile, name)).join('\n')}
    ${makeProducts(tile, [ofScores, ofEta])}
    let isCut = bound(t * ${columns}u) < firstKey + ${blockRowsOf(tile)}u;
    ${given ? probeStep(tile, given) : ofColumns((i, j) => `${begin(i, j)} } { ${finish(i, j, 'second.y')}`)}
    ${storeHalves(tile, ofQuery, 'keyWeightUnit', 0)}
    ${storeHalves(tile, (i, q) => quadOf('y', i, q), adjoint ? 'keyWeightUnit' : 'valueWeightUnit', 1)}
    ${stageNext(tile, stagedColumns, staging)}
    workgroupBarrier();
    ${addWeighted(tile, [
      { name: 'k', columns: query, area: 0 },
      { name: 'v', columns: cotangent, area: 1 },
      ...(adjoint ? [{ name: 'k', columns: adjoint, area: 1 }] : []),
    ])}`;
  const result = (i: number, x: string): string =>
    `select(select(${x}, vec4f(), keyInfo${i}.y == HIDDEN), vec4f(params.nan), keyInfo${i}.y == SPOILT)`;
  const storeKey = (i: number): string => `{
    let j = firstKey + ty + ${tile.threadsY * i}u;
    let target_row = (params.firstHead + head) * params.Tk + j;
    if (j < params.Tk) {
      ${unroll(groupsOf(tile, Dp / 4), (g) => `store_dkey(target_row, tx + ${tile.threadsX * g}u, ${result(i, `k${i}_${g}`)});`)}
      ${unroll(groupsOf(tile, Dvp / 4), (g) => `store_dvalue(target_row, tx + ${tile.threadsX * g}u, ${result(i, `v${i}_${g}`)});`)}
      ${hasBias ? `if (tx == 0u) { dkeyBias[target_row] ${isSecond ? '+=' : '='} ${result(i, `vec4f(bias${i})`)}.x; }` : ''}
    }
  }`;
  const vec4 = { access: 'read', element: 'vec4f' } as const;
  const flags = isSecond ? flagging(shape) : { buffers: {}, params: {} };
  const rowBuffers: Record<string, BufferType> = matrices
    ? {
        images: { access: 'read', element: halfElement(matrices) },
        records: vec4,
        units: { access: 'read', element: 'u32' },
        largest: { access: 'read', element: 'u32' },
      }
    : { rows: vec4, terms: vec4 };
  const readKeyUnits = `
  let keyUnit = unitAbove(bitcast<f32>(units[2u * head]));
  let valueUnit = unitAbove(bitcast<f32>(units[2u * head + 1u]));
  let keyWeightUnit = unitAbove(bitcast<f32>(largest[2u * head])) * ${2 ** -14};
  let valueWeightUnit = ${adjoint ? 'keyWeightUnit * keyUnit * inverseOf(valueUnit)' : `unitAbove(bitcast<f32>(largest[2u * head + 1u])) * ${2 ** -14}`};
  ${operand(tile, keys('key'), Dp / 4)}
  ${operand(tile, values('value'), Dvp / 4)}`;
  return {
    key: `gradientKeys ${shapeKey(shape)} ${probe} ${hasBias} ${layout.quads}`,
    workgroupSize: threadsOf(tile),
    params: { ...shapeParams, ...flags.params },
    ...directivesOf(tile),
    buffers: {
      ...rowBuffers,
      ...preparedBuffers(tile),
      ...flags.buffers,
      keyInfo: { access: 'read', element: 'vec2f' },
      dkey: dkey.buffer,
      dvalue: dvalue.buffer,
      ...(hasBias && { dkeyBias: { access: 'read_write', element: 'f32' } as const }),
    },
    workgroupBytes: tileBytes(tile) + (matrices ? 16 * buffers * records : 0),
    text: () => `
${KEY_STATES}
${boundFunction('by uniform')}
${dkey.text}
${dvalue.text}
${declareTile(tile)}
${matrices ? `${RECORDS}\nvar<workgroup> stagedRecords: array<array<array<vec4f, ${columns}>, 2>, ${buffers}>;` : ''}
${mainHead(tile)}
  let head = workgroup.x;
  let firstKey = workgroup.y * ${blockRowsOf(tile)}u;
  if (firstKey >= ${isSecond ? `min(params.Tk, ${flaggedKeys('head')})` : 'params.Tk'}) { return; }
  ${perRow(tile, (i) => `let key${i} = head * params.Tkp + firstKey + ty + ${tile.threadsY * i}u; let keyInfo${i} = keyInfo[key${i}];`)}
  ${declareAccumulator(tile, 'k', Dp / 4)}
  ${declareAccumulator(tile, 'v', Dvp / 4)}
  ${hasBias ? perRow(tile, (i) => `var bias${i} = 0.0;`, ' ') : ''}
  ${matrices ? readKeyUnits : ''}
  let firstQuery = select(0u, u32(max(0i, i32(firstKey + params.Tq) - i32(params.Tk))), params.isCausal != 0u);
  let queryTiles = (params.Tq + ${columns - 1}u) / ${columns}u;
  ${
    isMatrixTile(tile)
      ? loopOverColumns(
          tile,
          stagedColumns,
          { first: `(firstQuery / ${columns}u)`, count: 'queryTiles', extra: staging },
          matrixStep(tile),
        )
      : `for (var t = firstQuery / ${columns}u; t < queryTiles; t++) {
    ${isSecond ? `if (!${isFlaggedRow(`t * ${columns}u`)}) { continue; }` : ''}
    ${floatStep()}
  }`
  }
  ${readAccumulator(tile, 'k', Dp / 4, 'keyWeightUnit')}
  ${readAccumulator(tile, 'v', Dvp / 4, 'valueWeightUnit')}
  ${hasBias ? reduceRows(tile, ['bias'], 'sum') : ''}
  ${perRow(tile, storeKey)}
}`,
  };
}
