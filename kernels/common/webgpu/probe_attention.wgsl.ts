import { flag, flagBuffer, flagParams, hasCoarseScores, readFlag } from './coarse_tiles.wgsl.js';
import { halfElement, matrixDirectives } from './matrix.wgsl.js';
import { boundFunction, ROW_STATES } from './prepare.wgsl.js';
import { FINITE } from './raw_inputs.wgsl.js';
import { type InfoRowLayout, keyStride, rowQuad } from './row_layout.js';
import { rowStoreOf } from './row_store.js';
import { type BufferType, type ParamType, type Shader, unroll } from './shader.js';
import { asOperand, declareBounds, declareSoftmax, finishScores, onlineSoftmax } from './softmax_weights.wgsl.js';
import {
  accumulate,
  blockColumnsOf,
  blockRowsOf,
  canReadAhead,
  type Columns,
  declareAccumulator,
  declareAhead,
  declareTile,
  groupsOf,
  mainHead,
  operand,
  overColumns,
  perQuad,
  perRow,
  products,
  productsAgain,
  quadOf,
  readAccumulator,
  readAhead,
  reduceRows,
  stageNext,
  storeWeights,
  sumOfQuads,
  threadsOf,
  type Tile,
  tileBytes,
} from './tile.wgsl.js';

/**
 * What the kernels of softmax, Parallax and local linear attention are made for. The unpadded dimensions and whether a
 * call is causal are uniforms: they cost nothing there, and a shader takes up to seconds to compile.
 */
export interface AttentionShape {
  readonly tile: Tile;
  /** Padded head dimensions, multiples of `4 threadsX`. */
  readonly Dp: number;
  readonly Dvp: number;
  /** Whether D and Dv, which are uniforms, are multiples of four. */
  readonly isAlignedD: boolean;
  readonly isAlignedDv: boolean;
  /** Whether a mask or a bias is added to the scores. */
  readonly hasKeyTerms: boolean;
  /** Whether the kernel takes only tiles that its variant by matrices has flagged (coarse_tiles.wgsl.ts). */
  readonly isSecond: boolean;
}

/** Uniforms of every kernel of the family. */
export const shapeParams: Record<string, ParamType> = {
  firstHead: 'u32',
  Tq: 'u32',
  Tk: 'u32',
  Tqp: 'u32',
  Tkp: 'u32',
  D: 'u32',
  Dv: 'u32',
  isCausal: 'u32',
  scale: 'f32',
  logScale: 'f32',
  nan: 'f32',
};

export const shapeKey = (shape: AttentionShape): string => JSON.stringify(Object.values(shape));

/** Prepared keys and values as the kernels of a tile see them. */
export const preparedBuffers = ({ matrices }: Tile): Record<'preparedKey' | 'preparedValue', BufferType> => {
  const type = { access: 'read', element: matrices ? halfElement(matrices) : 'vec4f' } as const;
  return { preparedKey: type, preparedValue: type };
};

/** Binding and uniforms of the flags of tiles, for kernels that set or read them. */
export const flagging = (
  shape: AttentionShape,
): { readonly buffers: Record<string, BufferType>; readonly params: Record<string, ParamType> } =>
  shape.tile.matrices || shape.isSecond
    ? { buffers: { flags: flagBuffer(shape.tile) }, params: flagParams }
    : { buffers: {}, params: {} };

/** Extensions of the language that the shader of a tile takes. */
export const directivesOf = ({ matrices }: Tile): { readonly directives?: string } =>
  matrices ? { directives: matrixDirectives(matrices) } : {};

/** What prepared keys and values of half precision are multiples of, and the mean variance of the keys, of a tile's head. */
export const readUnits = ({ tile }: AttentionShape, layout: InfoRowLayout): string =>
  tile.matrices && layout.units !== undefined
    ? `let units = ${rowQuad(layout, '(head * params.Tqp + firstRow)', layout.units, '0u')};
  let keyUnit = units.x; let valueUnit = units.y; let keyVariance = units.z;`
    : '';

/** Columns of a prepared tensor `[heads, Tkp, width]` of the head `head`. */
export const keyColumns = (
  buffer: 'preparedKey' | 'preparedValue',
  padded: number,
  areKeysSpread = false,
): Columns => ({
  buffer,
  unit: buffer === 'preparedKey' ? 'keyUnit' : 'valueUnit',
  base: `head * params.Tkp * ${keyStride(padded, areKeysSpread)}u`,
  stride: keyStride(padded, areKeysSpread),
  offset: 0,
  width: padded / 4,
});

/** `value` in an ordinary row, NaN in a bad one, zeros in one that sees no key, by `state{i}`. */
export const byState = (i: number, value: string): string =>
  `select(select(vec4f(), vec4f(params.nan), state${i} == BAD), ${value}, state${i} == ORDINARY)`;

/**
 * Softmax attention (no probe) or attention with a given probe `x`, in one pass over the keys:
 * `o = sum p (1 + y.x) v = (1 - tbar) sum p v + sum p t v` with `t = k.x` and `tbar = sum p t`.
 *
 * One workgroup a tile of query rows; the last rows, which see most keys under `causal`, come first. `isRaw`: keys and values are the
 * call's own, rows those of `checkedInputsShader`.
 */
export function probeAttentionShader(
  shape: AttentionShape,
  layout: InfoRowLayout,
  hasProbe: boolean,
  isRaw = false,
): Shader {
  const { tile, Dp, Dvp, isAlignedDv, hasKeyTerms } = shape;
  const out = rowStoreOf('out', 'params.Dv', isAlignedDv);
  // What is not finite counts as zero for rows that do not see it: in tiles of keys of which some rows see only a part.
  const mend = (quads: readonly string[]): string =>
    `if ((t + 1u) * ${blockColumnsOf(tile)}u > firstBound) { ${quads.map((x) => `${x} = kept(${x});`).join(' ')} }`;
  const raw = isRaw ? { mend } : {};
  const key = { ...keyColumns('preparedKey', Dp), ...raw };
  const value = { ...keyColumns('preparedValue', Dvp), ...raw, region: tile.buffers === undefined ? 0 : 1 };
  // With several passes over the keys or more to accumulate registers are scarce.
  const isAhead = !hasProbe && canReadAhead(tile, key);
  const width = Dvp / 4;
  const slot = (offset: number) => (i: number, c: string) => rowQuad(layout, `row${i}`, offset, c);
  // Scores come last: their products may be read again.
  const sets = [...(hasProbe ? [{ name: 't', row: slot(Dp / 4) }] : []), { name: 's', row: slot(0) }];
  const finished = finishScores(tile, 's', hasKeyTerms, isRaw);
  const accumulators = [{ name: 'a', width }, ...(hasProbe ? [{ name: 'b', width }] : [])];
  // Weights are below 2^15, products with a key below its length times the probe's.
  const probeUnit = '(8.0 * unit_t * keyUnit)';
  const probePart = (): string => `
    ${perQuad(tile, (i, q) => `p${i}_${q} = ${asOperand(tile, `p${i}_${q} * ${quadOf('t', i, q)}`)};`)}
    ${perRow(tile, (i) => `tbar${i} += ${sumOfQuads(tile, 'p', i)};`)}
    workgroupBarrier();
    ${storeWeights(tile, (i, q) => `p${i}_${q}`, probeUnit)}
    ${accumulate(tile, 'b', value, true)}`;
  const { buffers, params } = flagging(shape);
  const rowState = (i: number): string => `${rowQuad(layout, `row${i}`, layout.info, '0u')}.y`;
  const result = (i: number, g: number): string =>
    hasProbe ? `(a${i}_${g} * (1.0 - tbar${i} * inverse) + b${i}_${g}) * inverse` : `a${i}_${g} * inverse`;
  return {
    key: `probeAttention ${shapeKey(shape)} ${hasProbe} ${layout.quads} ${isRaw}`,
    workgroupSize: threadsOf(tile),
    params: { ...shapeParams, ...params },
    ...directivesOf(tile),
    buffers: {
      rows: { access: 'read', element: 'vec4f' },
      ...preparedBuffers(tile),
      ...buffers,
      ...(hasKeyTerms && { keyTerms: { access: 'read', element: 'vec4f' } as const }),
      ...(isRaw && { marks: { access: 'read', element: 'u32' } as const }),
      out: out.buffer,
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${ROW_STATES}
${boundFunction('by uniform')}
${isRaw ? FINITE : ''}
${out.text}
${declareTile(tile)}
${mainHead(tile)}
  let head = workgroup.x;
  let firstRow = ((params.Tqp + ${blockRowsOf(tile) - 1}u) / ${blockRowsOf(tile)}u - 1u - workgroup.y) * ${blockRowsOf(tile)}u;
  if (firstRow >= params.Tq) { return; }
  ${shape.isSecond ? `${readFlag} if (!isFlagged) { return; }` : ''}
  ${readUnits(shape, layout)}
  ${perRow(tile, (i) => `let row${i} = head * params.Tqp + firstRow + ty + ${tile.threadsY * i}u;`)}
  ${declareBounds(tile, 'firstRow')}
  ${isRaw ? 'let firstBad = params.Tk - marks[4u * head + 1u];' : ''}
  ${declareSoftmax(tile)}
  ${accumulators.map(({ name }) => declareAccumulator(tile, name, width)).join('\n')}
  ${hasProbe ? perRow(tile, (i) => `var tbar${i} = 0.0;`, ' ') : ''}
  ${sets.map((set) => operand(tile, set, key.width)).join('\n')}
  ${isAhead ? `${declareAhead(tile, key)} ${readAhead(tile, key, '0u')}` : ''}
  ${overColumns(
    tile,
    [key, value],
    'keyTiles',
    `${products(tile, key, sets, isAhead)}
    ${finished}
    ${isAhead ? readAhead(tile, key, 'min(t + 1u, keyTiles - 1u)') : ''}
    ${onlineSoftmax(tile, accumulators, hasProbe ? ['tbar'] : [], { columns: value, isStaged: false }, `${productsAgain(tile, 's', key)} ${finished}`, undefined, { first: stageNext(tile, [key, value]), again: '' })}
    ${accumulate(tile, 'a', value, false, true)}
    ${hasProbe ? probePart() : ''}`,
  )}
  ${readAccumulator(tile, 'a', width, 'valueUnit')}
  ${hasProbe ? readAccumulator(tile, 'b', width, `(${probeUnit} * valueUnit)`) : ''}
  ${reduceRows(tile, hasProbe ? ['l', 'tbar'] : ['l'], 'sum')}
  ${perRow(
    tile,
    (i) => `{
    let i = firstRow + ty + ${tile.threadsY * i}u;
    ${
      isRaw
        ? `let visibleTo = bound(min(i, params.Tq - 1u));
    let isBad = firstBad < visibleTo || ${rowState(i)} == BAD;
    let state${i} = select(select(ORDINARY, BAD, isBad), BLIND, visibleTo == 0u);`
        : `let state${i} = ${rowState(i)};`
    }
    let inverse = 1.0 / max(l${i}, 1e-37);
    ${tile.matrices ? `if (tx == 0u && i < params.Tq && ${hasCoarseScores(i)}) { ${flag('i')} }` : ''}
    if (i < params.Tq) {
      ${unroll(groupsOf(tile, width), (g) => `store_out((params.firstHead + head) * params.Tq + i, tx + ${tile.threadsX * g}u, ${byState(i, result(i, g))});`)}
    }
  }`,
  )}
}`,
  };
}
