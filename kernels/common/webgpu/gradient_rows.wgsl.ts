import { flag, hasCoarseScores, leaveFewKeys, readFlag } from './coarse_tiles.wgsl.js';
import {
  beginSolve,
  direction,
  finishSolve,
  isLarge,
  iterate,
  keptBy,
  meanKey,
  nextTile,
  targetFunction,
  solution,
  solverBuffers,
  solverParams,
  takeTile,
  weightsAgain,
  type WeightSource,
} from './conjugate_gradient.wgsl.js';
import { differenceOf, refineMeans, refineSums } from './differences.wgsl.js';
import { gradientRowsByMatrices } from './gradient_rows_matrices.wgsl.js';
import { boundFunction, ROW_STATES } from './prepare.wgsl.js';
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
} from './probe_attention.wgsl.js';
import { type InfoRowLayout, rowQuad } from './row_layout.js';
import { rowStoreOf } from './row_store.js';
import { type Shader, unroll } from './shader.js';
import { asOperand, declareBounds, declareSoftmax, finishScores, onlineSoftmax } from './softmax_weights.wgsl.js';
import {
  accumulate,
  blockRowsOf,
  clearAccumulator,
  type Columns,
  declareAccumulator,
  declareTile,
  groupsOf,
  isMatrixTile,
  mainHead,
  operand,
  overColumns,
  perQuad,
  perRow,
  products,
  productsAgain,
  quadOf,
  readAccumulator,
  reduceRows,
  stageNext,
  storeWeights,
  sumOfQuads,
  threadsOf,
  tileBytes,
} from './tile.wgsl.js';

/** Where the probe of an operator comes from: there is none, it is given, or it is the solution of a system. */
export type ProbeKind = 'none' | 'given' | 'solved';

/** Weights of keys may be this many times as large as others that share their scale: half precision has 2^28, and weights of a row differ. */
const MOST_UNLIKE = 2 ** 10;

/** Log-sum-exp of a row that takes part in nothing: its weights come out as zero. */
export const NO_WEIGHT = '1e30';

/**
 * Expression: where a prepared row has the largest of its numbers `|de|`, `p |eta|` and `p |tau|`, which tell the units of the
 * weights by matrices: the last of the extra quads.
 */
export const largestPlace = ({ quads, info }: InfoRowLayout, row: string): string =>
  `rows[${row} * ${quads}u + ${info - 1}u]`;

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
 * By matrices probe and `u` are used rounded in all products, and values are prepared minus a centre: what they have in common
 * would cost digits of `Gamma`, and drops out.
 *
 * Slots of `layout`: query, dout, and the probe if there is one.
 */
export function gradientRowsShader(
  shape: AttentionShape,
  layout: InfoRowLayout,
  probe: ProbeKind,
  isKept: boolean,
): Shader {
  const { tile, Dp, Dvp, isAlignedD, hasKeyTerms } = shape;
  const { matrices } = tile;
  const key = keyColumns('preparedKey', Dp, !matrices);
  const value = { ...keyColumns('preparedValue', Dvp, !matrices), region: 1 };
  const groups = groupsOf(tile, key.width);
  const isSolved = probe === 'solved';
  const slot = (s: number) => (i: number, c: string) => rowQuad(layout, `row${i}`, layout.slots[s].offset, c);
  const source: WeightSource = { tile, key, query: slot(0), isKept, hasKeyTerms };
  const kept = keptBy(source);
  const [dquery, dprobe] = ['dquery', 'dprobe'].map((name) => rowStoreOf(name, 'params.D', isAlignedD));
  const column = (g: number): string => `tx + ${tile.threadsX * g}u`;
  const perGroup = (text: (g: number) => string): string => unroll(groups, text, ' ');
  const N = (i: number, g: number): string => differenceOf(i, g, matrices ? 'gbar' : 'offset');
  const right = (i: number, g: number): string => `select(vec4f(), ${N(i, g)}, info${i}.y == ORDINARY)`;
  // A vector in its products with keys.
  const inProducts = (x: string): string => asOperand(tile, x);
  const cotangent = { name: 'y', row: slot(1) };
  // Bounds of products by units: no number of a key is beyond its unit.
  const boundOf = (name: string, { unit, width }: Columns): string =>
    `${Math.ceil(Math.sqrt(4 * width))}.0 * unit_${name} * ${unit}`;

  const staged = [key, value];
  const loop = (body: string): string => overColumns(tile, staged, 'keyTiles', body);
  const store = (i: number, text: string): string => `{
    let i = firstRow + ty + ${tile.threadsY * i}u;
    let state${i} = info${i}.y;
    let target_row = (params.firstHead + head) * params.Tq + i;
    if (i < params.Tq) { ${text} }
    }`;
  const storeTerms = (i: number, tau: string, eta: string, constant: string): string => `
    if (tx == 0u) { terms[row${i}] = select(vec4f(${NO_WEIGHT}, 1.0, 0.0, 0.0),
      vec4f(m${i} + log2(max(l${i}, 1e-37)), ${tau}, ${eta}, ${constant}), info${i}.y == ORDINARY); }`;

  const finished = finishScores(tile, 's', hasKeyTerms);
  const byMatrices = isMatrixTile(tile) ? gradientRowsByMatrices(tile, key, value, cotangent) : undefined;
  const firstPass = (): string =>
    byMatrices
      ? `${byMatrices.firstPass(finished, kept)}
  ${perRow(tile, (i) => `gammaBound${i} = ${boundOf('y', value)};`)}`
      : floatPass();
  const floatPass = (): string => `
  ${operand(tile, cotangent, value.width)}
  ${loop(`
    ${products(tile, value, [cotangent])}
    ${products(tile, key, [{ name: 's', row: slot(0) }])}
    ${finished}
    ${onlineSoftmax(
      tile,
      [
        { name: 'a', width: key.width },
        { name: 'n', width: key.width },
      ],
      ['gbar'],
      { columns: key, isStaged: true },
      `${productsAgain(tile, 's', key)} ${finished}`,
      kept,
    )}
    ${accumulate(tile, 'a', key, true, true)}
    workgroupBarrier();
    ${perQuad(tile, (i, q) => `p${i}_${q} = (p${i}_${q} * ${quadOf('y', i, q)});`)}
    ${perRow(tile, (i) => `gbar${i} += ${sumOfQuads(tile, 'p', i)};`)}
    ${storeWeights(tile, (i, q) => `p${i}_${q}`)}
    ${accumulate(tile, 'n', key, true)}`)}`;

  // The tile is left to float32 where a row's condition says so.
  const flagRows = (condition: (i: number) => string): string =>
    matrices
      ? perRow(
          tile,
          (i) =>
            `if (tx == 0u && info${i}.y == ORDINARY && ${condition(i)}) { ${flag(`(firstRow + ty + ${tile.threadsY * i}u)`)} }`,
        )
      : '';
  const storeLargest = (i: number, de: string, eta: string, tau: string): string =>
    matrices ? `if (tx == 0u) { ${largestPlace(layout, `row${i}`)} = vec4f(${de}, ${eta}, ${tau}, 0.0); }` : '';

  const softmaxEnd = (): string => `${flagRows(hasCoarseScores)}
    ${perRow(
      tile,
      (i) => `${storeTerms(i, '1.0', `-gbar${i}`, '0.0')}
    ${storeLargest(i, `heaviest${i} * (gammaBound${i} + abs(gbar${i}))`, '0.0', `heaviest${i}`)}
    ${store(
      i,
      perGroup(
        (g) =>
          `{ let kbar = a${i}_${g} * inverse${i}; store_dquery(target_row, ${column(g)}, ${byState(i, `params.scale * ${N(i, g)}`)}); }`,
      ),
    )}`,
    )}`;

  /** Squared norms and products of the given probe with kbar and `other`. */
  const probeSums = (other: (i: number, g: number) => string, kbar: (i: number, g: number) => string): string => `
  ${perRow(
    tile,
    (i) => `var probeMean${i} = 0.0; var probeSize${i} = 0.0; var overlap${i} = 0.0; var keySize${i} = 0.0;
    ${perGroup(
      (
        g,
      ) => `{ let x = ${slot(2)(i, column(g))}; let kbar = ${kbar(i, g)}; probeMean${i} += dot(${inProducts('x')}, kbar);
      probeSize${i} += dot(x, x); keySize${i} += dot(kbar, kbar); overlap${i} += dot(x, ${other(i, g)}); }`,
    )}`,
  )}
  ${reduceRows(tile, ['probeMean', 'probeSize', 'overlap', 'keySize'], 'sum')}`;

  /** Sums `de k` in `a`: `eta(i, q)` from products, `constant{i}`. */
  const lastPass = (
    sets: { name: string; row: (i: number, c: string) => string }[],
    etaOffset: (i: number) => string,
  ): string => {
    const eta = (i: number, q: number): string =>
      isSolved && !matrices
        ? `${quadOf('y', i, q)} - ${quadOf('u', i, q)} + (${etaOffset(i)})`
        : `${quadOf('y', i, q)} + (${etaOffset(i)})`;
    // The keys' weights of u, `p tau` in the unit that it shares with dout, against those of query and probe: all have one scale.
    const hasUnlikeWeights = (i: number): string =>
      `(square_y${i} > 0.0 && all_mostTau${i} * all_eta * inverseOf(${key.unit}) > ${MOST_UNLIKE}.0 * max(abs(params.scale) * unit_s * all_mostScore${i}, unit_t * all_mostEta${i}))`;
    const raise = (name: string, i: number, x: string): string => `${name}${i} = max(${name}${i}, abs(${x}));`;
    const largest = ['mostScore', 'mostEta', 'mostTau'];
    const end = (i: number): string =>
      largest
        .map(
          (name) => `var all_${name}${i} = max(max(${name}${i}.x, ${name}${i}.y), max(${name}${i}.z, ${name}${i}.w));`,
        )
        .join(' ');
    const setUnit = (i: number): string => {
      const tauBound = `(abs(1.0 - probeMean${i}) + ${boundOf('t', key)})`;
      const own = isSolved ? ` + ${boundOf('u', key)}` : '';
      const etaBound = `(gammaBound${i} + abs(${etaOffset(i)})${own})`;
      return `let scoreUnit = unitAbove(heaviest${i} * l${i} * (${tauBound} * ${etaBound} + abs(constant${i}))) * ${2 ** -15};
      ${largest.map((name) => `var ${name}${i} = vec4f();`).join(' ')}`;
    };
    // By matrices `u` is part of the products with dout: `eta` but for its constant.
    const own = isSolved && matrices ? sets.filter(({ name }) => name !== 'u') : sets;
    const last = byMatrices?.lastPass(isSolved ? direction(source) : undefined);
    return `
  ${clearAccumulator(tile, 'a', key.width)}
  ${last?.operands ?? ''}
  ${own.map((set) => operand(tile, set, key.width)).join('\n')}
  ${matrices ? perRow(tile, setUnit) : ''}
  ${loop(`
    ${matrices ? '' : products(tile, value, [cotangent])}
    ${weightsAgain(source, own, last?.products)}
    ${perQuad(
      tile,
      (i, q) => `let tau${i}_${q} = ${quadOf('t', i, q)} + (1.0 - probeMean${i}); let eta${i}_${q} = ${eta(i, q)};
      let de${i}_${q} = w${i}_${q} * (tau${i}_${q} * eta${i}_${q} - constant${i});
      ${matrices ? `${raise('mostScore', i, `de${i}_${q}`)} ${raise('mostEta', i, `w${i}_${q} * eta${i}_${q}`)} ${raise('mostTau', i, `w${i}_${q} * tau${i}_${q}`)}` : ''}`,
    )}
    ${storeWeights(tile, (i, q) => `de${i}_${q}`, 'scoreUnit')}
    ${stageNext(tile, staged)}
    ${accumulate(tile, 'a', key, true)}`)}
  ${readAccumulator(tile, 'a', key.width, `(scoreUnit * ${key.unit})`)}
  ${
    matrices
      ? `${perRow(tile, end)}
  ${reduceRows(
    tile,
    largest.map((name) => `all_${name}`),
    'max',
  )}
  ${perRow(tile, (i) => storeLargest(i, ...(largest.map((name) => `all_${name}${i} * inverse${i}`) as [string, string, string])))}
  ${isSolved ? flagRows(hasUnlikeWeights) : ''}`
      : ''
  }`;
  };

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
  ${perRow(tile, (i) => `let meanSize${i} = keySize${i}; let constant${i} = overlap${i};`, ' ')}
  ${flagRows((i) => `(${isLarge('probeSize', i)} || ${hasCoarseScores(i)})`)}
  ${matrices ? '' : refineMeans(source, [{ mean: 'probeMean', size: 'probeSize', row: slot(2) }])}
  ${matrices ? '' : perRow(tile, (i) => `probeMean${i} += rest_probeMean${i};`, ' ')}
  ${lastPass([{ name: 't', row: slot(2) }], (i) => `-gbar${i}`)}
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
  ${flagRows((i) => isLarge('probeSize', i))}
  ${
    matrices
      ? `${perRow(tile, (i) => `meanProduct${i} = 0.0; ${perGroup((g) => `meanProduct${i} += dot(${inProducts(solution(source, i, g))}, ${meanKey(source, i, g)});`)}`)}
  ${reduceRows(tile, ['meanProduct'], 'sum')}`
      : refineMeans(source, [
          { mean: 'meanProduct', size: 'size', row: direction(source) },
          { mean: 'probeMean', size: 'probeSize', row: slot(2) },
        ])
  }
  ${matrices ? '' : perRow(tile, (i) => `meanProduct${i} += rest_meanProduct${i}; probeMean${i} += rest_probeMean${i};`, ' ')}
  ${perRow(tile, (i) => `let constant${i} = info${i}.x * overlap${i};`, ' ')}
  ${lastPass(
    [
      { name: 'u', row: direction(source) },
      { name: 't', row: slot(2) },
    ],
    (i) => `meanProduct${i} - gbar${i}`,
  )}
  ${perRow(
    tile,
    (i) => `let isClose${i} = ${matrices ? 'false' : `${isLarge('size', i)} || ${isLarge('probeSize', i)}`};
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
  ${shape.isSecond ? `${readFlag} if (!isFlagged) { return; }` : ''}
  ${matrices ? leaveFewKeys(blockRowsOf(tile)) : ''}
  ${perRow(tile, (i) => `let row${i} = head * params.Tqp + firstRow + ty + ${tile.threadsY * i}u;`)}`;
  const flags = flagging(shape);
  return {
    key: `gradientRows ${shapeKey(shape)} ${probe} ${isKept} ${layout.quads}`,
    workgroupSize: threadsOf(tile),
    params: { ...shapeParams, ...(isSolved && solverParams), ...flags.params },
    ...directivesOf(tile),
    buffers: {
      rows: { access: isSolved || matrices ? 'read_write' : 'read', element: 'vec4f' },
      ...preparedBuffers(tile),
      ...flags.buffers,
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
  ${isSolved ? `${nextTile(tile)}\n${takeTile(shape)}` : gridTile}
  ${readUnits(shape, layout)}
  ${perRow(tile, (i) => `let info${i} = ${rowQuad(layout, `row${i}`, layout.info, '0u')};`)}
  ${declareBounds(tile, 'firstRow')}
  ${declareSoftmax(tile)}
  ${perRow(tile, (i) => `var gbar${i} = 0.0;${matrices ? ` var peak${i} = m${i}; var gammaBound${i} = 0.0;` : ''}`, ' ')}
  ${declareAccumulator(tile, 'a', key.width)}
  ${declareAccumulator(tile, 'n', key.width)}
  ${operand(tile, { name: 's', row: slot(0) }, key.width)}
  ${matrices ? `{ ${firstPass()} }` : firstPass()}
  ${reduceRows(tile, ['l', 'gbar'], 'sum')}
  ${perRow(tile, (i) => `let inverse${i} = 1.0 / max(l${i}, 1e-37); gbar${i} *= inverse${i};`)}
  ${matrices ? `${reduceRows(tile, ['peak'], 'max')}\n${perRow(tile, (i) => `let heaviest${i} = exp2(clamp(peak${i} - m${i}, -200.0, 15.0)) * inverse${i};`)}` : ''}
  ${matrices ? '' : refineSums(source, value, cotangent)}
  ${ends[probe]()}
}`,
  };
}
