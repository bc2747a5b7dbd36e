import {
  beginSolve,
  direction,
  isLarge,
  finishSolve,
  iterate,
  keptBy,
  meanKey,
  nextTile,
  targetFunction,
  refineMeans,
  solution,
  solverBuffers,
  solverParams,
  weightsAgain,
  type WeightSource,
} from './conjugate_gradient.wgsl.js';
import { boundFunction, ROW_STATES } from './prepare.wgsl.js';
import { type AttentionShape, byState, keyColumns, shapeKey, shapeParams } from './probe_attention.wgsl.js';
import { type InfoRowLayout, rowQuad } from './row_layout.js';
import { rowStoreOf } from './row_store.js';
import { type Shader, unroll } from './shader.js';
import { declareBounds, declareSoftmax, finishScores, onlineSoftmax } from './softmax_weights.wgsl.js';
import {
  accumulate,
  blockRowsOf,
  clearAccumulator,
  declareAccumulator,
  declareTile,
  groupsOf,
  mainHead,
  perQuad,
  perRow,
  products,
  quadOf,
  reduceRows,
  storeWeights,
  sumOfQuads,
  threadsOf,
  tileBytes,
} from './tile.wgsl.js';

/** Where the probe of an operator comes from: there is none, it is given, or it is the solution of a system. */
export type ProbeKind = 'none' | 'given' | 'solved';

/** Log-sum-exp of a row that takes part in nothing: its weights come out as zero. */
const NO_WEIGHT = '1e30';

/**
 * The part of a gradient that belongs to query rows (operator.md, "exact gradient" and "the family"): dq, for a given
 * probe its gradient, for a solved one the second solve, whose solution `u` goes to the rows' extra slot, and behind it
 * the row's mean key, which the pass over keys asks for where `k.x` and `kbar.x` are large (the row's info says so).
 *
 * One pass over keys and values gives the weights, `kbar`, `Gbar = sum p Gamma` and `N = sum p Gamma y`; for softmax
 * attention that is all, `dq = scale N`. With a probe a last pass sums `de_j k_j`. `terms` of a row are what the pass over
 * keys (gradient_keys.wgsl.ts) needs of it: the log-sum-exp (base 2), what `k.x` is added to for `tau`, what
 * `Gamma - k.u` is added to for `eta`, and the constant that makes `de` sum to zero.
 *
 * Slots of `layout`: query, dout, and the probe if there is one.
 */
export function gradientRowsShader(
  shape: AttentionShape,
  layout: InfoRowLayout,
  probe: ProbeKind,
  isKept: boolean,
): Shader {
  const { tile, Dp, Dvp, isAlignedD, hasKeyTerms, areKeysSpread = false } = shape;
  const key = keyColumns('preparedKey', Dp, areKeysSpread);
  const value = keyColumns('preparedValue', Dvp, areKeysSpread);
  const groups = groupsOf(tile, key.width);
  const isSolved = probe === 'solved';
  const slot = (s: number) => (i: number, c: string) => rowQuad(layout, `row${i}`, layout.slots[s].offset, c);
  const source: WeightSource = { tile, key, query: slot(0), isKept, hasKeyTerms };
  const kept = keptBy(source);
  const [dquery, dprobe] = ['dquery', 'dprobe'].map((name) => rowStoreOf(name, 'params.D', isAlignedD));
  const column = (g: number): string => `tx + ${tile.threadsX * g}u`;
  const perGroup = (text: (g: number) => string): string => unroll(groups, text, ' ');
  const N = (i: number, g: number): string => `(n${i}_${g} * inverse${i} - gbar${i} * kbar)`;
  const right = (i: number, g: number): string => `select(vec4f(), ${N(i, g)}, info${i}.y == ORDINARY)`;

  const loop = (body: string): string => `for (var t = 0u; t < keyTiles; t++) { ${body} }`;
  const store = (i: number, text: string): string => `{
    let i = firstRow + ty + ${tile.threadsY * i}u;
    let state${i} = info${i}.y;
    let target_row = (params.firstHead + head) * params.Tq + i;
    if (i < params.Tq) { ${text} }
    }`;
  const storeTerms = (i: number, tau: string, eta: string, constant: string): string => `
    if (tx == 0u) { terms[row${i}] = select(vec4f(${NO_WEIGHT}, 1.0, 0.0, 0.0),
      vec4f(m${i} + log2(max(l${i}, 1e-37)), ${tau}, ${eta}, ${constant}), info${i}.y == ORDINARY); }`;

  const firstPass = (): string =>
    loop(`
    ${products(tile, key, [{ name: 's', row: slot(0) }])}
    ${finishScores(tile, 's', hasKeyTerms)}
    ${products(tile, value, [{ name: 'y', row: slot(1) }])}
    ${onlineSoftmax(
      tile,
      [
        { name: 'a', width: key.width },
        { name: 'n', width: key.width },
      ],
      ['gbar'],
      { columns: key, isStaged: false },
      kept,
    )}
    ${accumulate(tile, 'a', key, false, true)}
    workgroupBarrier();
    ${perQuad(tile, (i, q) => `p${i}_${q} *= ${quadOf('y', i, q)};`)}
    ${perRow(tile, (i) => `gbar${i} += ${sumOfQuads(tile, 'p', i)};`)}
    ${storeWeights(tile, (i, q) => `p${i}_${q}`)}
    ${accumulate(tile, 'n', key, true)}`);

  const softmaxEnd = (): string =>
    perRow(
      tile,
      (i) => `${storeTerms(i, '1.0', `-gbar${i}`, '0.0')}
    ${store(
      i,
      perGroup(
        (g) =>
          `{ let kbar = a${i}_${g} * inverse${i}; store_dquery(target_row, ${column(g)}, ${byState(i, `params.scale * ${N(i, g)}`)}); }`,
      ),
    )}`,
    );

  /** Squared norms and products of the given probe with kbar and `other`. */
  const probeSums = (other: (i: number, g: number) => string, kbar: (i: number, g: number) => string): string => `
  ${perRow(
    tile,
    (i) => `var probeMean${i} = 0.0; var probeSize${i} = 0.0; var overlap${i} = 0.0; var keySize${i} = 0.0;
    ${perGroup(
      (g) => `{ let x = ${slot(2)(i, column(g))}; let kbar = ${kbar(i, g)}; probeMean${i} += dot(x, kbar);
      probeSize${i} += dot(x, x); keySize${i} += dot(kbar, kbar); overlap${i} += dot(x, ${other(i, g)}); }`,
    )}`,
  )}
  ${reduceRows(tile, ['probeMean', 'probeSize', 'overlap', 'keySize'], 'sum')}`;

  const lastPass = (
    sets: { name: string; row: (i: number, c: string) => string }[],
    de: (i: number, q: number) => string,
  ): string => `
  ${clearAccumulator(tile, 'a', key.width)}
  ${loop(`
    ${weightsAgain(source, sets)}
    ${products(tile, value, [{ name: 'y', row: slot(1) }])}
    ${storeWeights(tile, de)}
    ${accumulate(tile, 'a', key, false)}`)}`;

  const givenEnd = (): string => `
  ${probeSums(
    (i, g) => N(i, g),
    (i, g) => `a${i}_${g} * inverse${i}`,
  )}
  ${perRow(tile, (i) =>
    store(
      i,
      perGroup(
        (g) =>
          `{ let kbar = a${i}_${g} * inverse${i}; store_dprobe(target_row, ${column(g)}, ${byState(i, `-${N(i, g)}`)}); }`,
      ),
    ),
  )}
  ${perRow(tile, (i) => `let meanSize${i} = keySize${i};`, ' ')}
  ${refineMeans(source, [{ mean: 'probeMean', size: 'probeSize', row: slot(2) }])}
  ${lastPass(
    [{ name: 't', row: slot(2) }],
    (i, q) =>
      `w${i}_${q} * ((${quadOf('t', i, q)} + (1.0 - probeMean${i})) * (${quadOf('y', i, q)} - gbar${i}) - overlap${i})`,
  )}
  ${perRow(
    tile,
    (i) => `${storeTerms(i, `1.0 - probeMean${i}`, `-gbar${i}`, `overlap${i}`)}
    ${store(
      i,
      perGroup(
        (g) => `store_dquery(target_row, ${column(g)}, ${byState(i, `params.scale * inverse${i} * a${i}_${g}`)});`,
      ),
    )}`,
  )}`;

  const solvedEnd = (): string => `
  ${beginSolve(source, 'a', right)}
  ${iterate(source)}
  ${finishSolve(source)}
  ${probeSums(
    (i, g) => solution(source, i, g),
    (i, g) => meanKey(source, i, g),
  )}
  ${refineMeans(source, [
    { mean: 'meanProduct', size: 'size', row: direction(source) },
    { mean: 'probeMean', size: 'probeSize', row: slot(2) },
  ])}
  ${perRow(tile, (i) => `let constant${i} = info${i}.x * overlap${i};`, ' ')}
  ${lastPass(
    [
      { name: 'u', row: direction(source) },
      { name: 't', row: slot(2) },
    ],
    (i, q) => `w${i}_${q} * ((${quadOf('t', i, q)} + (1.0 - probeMean${i})) *
      (${quadOf('y', i, q)} - ${quadOf('u', i, q)} + (meanProduct${i} - gbar${i})) - constant${i})`,
  )}
  ${perRow(
    tile,
    (i) => `let isClose${i} = ${isLarge('size', i)} || ${isLarge('probeSize', i)};
    ${storeTerms(i, `select(1.0 - probeMean${i}, 1.0, isClose${i})`, `select(meanProduct${i}, 0.0, isClose${i}) - gbar${i}`, `constant${i}`)}
    if (tx == 0u) { rows[row${i} * ${layout.quads}u + ${layout.info}u].w = select(0.0, 1.0, isClose${i}); }
    ${perGroup((g) => `rows[row${i} * ${layout.quads}u + ${layout.extra + Dp / 4}u + ${column(g)}] = ${meanKey(source, i, g)};`)}
    ${perGroup((g) => `rows[row${i} * ${layout.quads}u + ${layout.extra}u + ${column(g)}] = ${solution(source, i, g)};`)}
    ${store(
      i,
      perGroup(
        (g) =>
          `store_dquery(target_row, ${column(g)}, ${byState(i, `params.scale * inverse${i} * a${i}_${g} + ${solution(source, i, g)}`)});`,
      ),
    )}`,
  )}
  storageBarrier();
  workgroupBarrier();
  }`;

  const ends = { none: softmaxEnd, given: givenEnd, solved: solvedEnd };
  const gridTile = `
  let head = workgroup.x;
  let firstRow = (params.Tqp / ${blockRowsOf(tile)}u - 1u - workgroup.y) * ${blockRowsOf(tile)}u;
  ${perRow(tile, (i) => `let row${i} = head * params.Tqp + firstRow + ty + ${tile.threadsY * i}u;`)}`;
  return {
    key: `gradientRows ${shapeKey(shape)} ${probe} ${isKept}`,
    workgroupSize: threadsOf(tile),
    params: { ...shapeParams, ...(isSolved && solverParams) },
    buffers: {
      rows: { access: isSolved ? 'read_write' : 'read', element: 'vec4f' },
      preparedKey: { access: 'read', element: 'vec4f' },
      preparedValue: { access: 'read', element: 'vec4f' },
      ...(hasKeyTerms && { keyTerms: { access: 'read', element: 'vec4f' } as const }),
      terms: { access: 'read_write', element: 'vec4f' },
      dquery: dquery.buffer,
      ...(probe === 'given' && { dprobe: dprobe.buffer }),
      ...(isSolved && solverBuffers(tile)),
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${ROW_STATES}
${boundFunction('by uniform')}
${dquery.text}
${probe === 'given' ? dprobe.text : ''}
${isSolved ? targetFunction(Dp) : ''}
${declareTile(tile)}
${mainHead(tile)}
  ${isSolved ? nextTile(tile) : gridTile}
  ${perRow(tile, (i) => `let info${i} = ${rowQuad(layout, `row${i}`, layout.info, '0u')};`)}
  ${declareBounds(tile, 'firstRow')}
  ${declareSoftmax(tile)}
  ${perRow(tile, (i) => `var gbar${i} = 0.0;`, ' ')}
  ${declareAccumulator(tile, 'a', key.width)}
  ${declareAccumulator(tile, 'n', key.width)}
  ${firstPass()}
  ${reduceRows(tile, ['l', 'gbar'], 'sum')}
  ${perRow(tile, (i) => `let inverse${i} = 1.0 / max(l${i}, 1e-37); gbar${i} *= inverse${i};`)}
  ${ends[probe]()}
}`,
  };
}
