import { FEWEST_VISIBLE, flag, hasCoarseScores, readFlag } from './coarse_tiles.wgsl.js';
import type { AttentionShape } from './probe_attention.wgsl.js';
import { vectorStride } from './row_layout.js';
import type { BufferType, ParamType } from './shader.js';
import { unroll } from './shader.js';
import {
  asOperand,
  finishScores,
  type KeptWeights,
  keptHalf,
  keptPacking,
  keptPlace,
  keptQuad,
} from './softmax_weights.wgsl.js';
import {
  accumulate,
  blockRowsOf,
  clearAccumulator,
  type Columns,
  groupsOf,
  operand,
  overColumns,
  perQuad,
  perRow,
  type Products,
  products,
  quadOf,
  readAccumulator,
  reduceRows,
  type RowQuad,
  stageNext,
  storeWeights,
  sumOfQuads,
  threadsOf,
  type Tile,
} from './tile.wgsl.js';

/*
 * Conjugate gradient on (C + ridge I) x = b for all rows of a tile at once, where C is the covariance of the keys under
 * a row's weights: applied, never formed. Its state lies in the workgroup's region of `work`, a vector a row each:
 * the direction row by row, since every thread reads it; the others as the quads of the thread that owns them.
 */

/** Vectors of solver state per row, behind its direction. */
const STATE_VECTORS = 3;
const SOLUTION = 0;
const RESIDUAL = 1;
const MEAN_KEY = 2;

/**
 * Words of `progress` before the flags of the rows: next tile; iterations of rows: sum, most; of tiles: sum; next tile of a
 * kernel by matrices.
 */
export const PROGRESS_HEAD = 8;

export const solverBuffers = ({ matrices }: Tile): Record<string, BufferType> => ({
  work: { access: 'read_write', element: matrices ? 'vec4u' : 'vec4f' },
  progress: { access: 'read_write', element: 'atomic<u32>' },
});

export const solverParams: Record<string, ParamType> = {
  rowTiles: 'u32',
  tiles: 'u32',
  regionQuads: 'u32',
  squaredTolerance: 'f32',
  leastDrop: 'f32',
  maxIterations: 'u32',
};

/**
 * Squared tolerance of a row that sees so many keys. The fewer they are against the dimension, the more of the solution
 * lies where the keys say little and only the ridge holds it; the residual says least about the error there. Such rows
 * (the first of a causal call) are taken closer, down to what float32 can tell.
 */
export const targetFunction = (Dp: number): string => `
fn targetFor(visible: u32) -> f32 {
  let share = min(1.0, f32(visible) / ${8 * Dp}.0);
  let squared = share * share;
  return max(params.squaredTolerance * squared * squared, min(params.squaredTolerance, 1e-12));
}`;

/** Quads of the rows' directions. */
const directionQuads = (tile: Tile, width: number): number => blockRowsOf(tile) * vectorStride(width);

/** Quads of the solver's state, of vectors of `width` quads. */
const stateQuads = (tile: Tile, width: number): number =>
  directionQuads(tile, width) + STATE_VECTORS * blockRowsOf(tile) * width;

/** Quads of `work` that a running workgroup takes: solver state and, if they are kept, weights of `Tkp` keys. */
export const regionQuads = (tile: Tile, Dp: number, Tkp: number, isKept: boolean): number =>
  stateQuads(tile, Dp / 4) + (isKept ? (blockRowsOf(tile) * Tkp) / keptPacking(tile) / 4 : 0);

/** Where later passes over the keys have the weights of a tile from. */
export interface WeightSource {
  readonly tile: Tile;
  /** Prepared keys. */
  readonly key: Columns;
  /** The rows' queries, for the weights where they are not kept. */
  readonly query: RowQuad;
  readonly isKept: boolean;
  readonly hasKeyTerms: boolean;
}

/** Where the weights are kept: behind the solver's state. */
export const keptBy = (solver: WeightSource): KeptWeights | undefined =>
  solver.isKept ? { buffer: 'work', base: `(region + ${stateQuads(solver.tile, solver.key.width)}u)` } : undefined;

/** A place in `work` as a vector, and what writes one there: the buffer holds kept weights of half precision as bits. */
const inWork = ({ tile }: WeightSource, at: string): string =>
  tile.matrices ? `bitcast<vec4f>(work[${at}])` : `work[${at}]`;
const toWork = ({ tile }: WeightSource, at: string, value: string): string =>
  `work[${at}] = ${tile.matrices ? `bitcast<vec4u>(${value})` : value};`;

function ownPlace(solver: WeightSource, vector: number, i: number, g: number): string {
  const { tile, key } = solver;
  const first = directionQuads(tile, key.width) + vector * blockRowsOf(tile) * key.width;
  return `region + ${first + (i * groupsOf(tile, key.width) + g) * threadsOf(tile)}u + tid`;
}

const ownQuad = (solver: WeightSource, vector: number, i: number, g: number): string =>
  inWork(solver, ownPlace(solver, vector, i, g));

const setQuad = (solver: WeightSource, vector: number, i: number, g: number, value: string): string =>
  toWork(solver, ownPlace(solver, vector, i, g), value);

/** Mean key `sum p k` of row `i`, group `g`. */
export const meanKey = (solver: WeightSource, i: number, g: number): string => ownQuad(solver, MEAN_KEY, i, g);

/** The solution of row `i`, group `g`, behind `finishSolve`. */
export const solution = (solver: WeightSource, i: number, g: number): string => ownQuad(solver, SOLUTION, i, g);

const directionPlace = ({ tile, key }: WeightSource, i: number, c: string): string =>
  `region + (ty + ${tile.threadsY * i}u) * ${vectorStride(key.width)}u + ${c}`;

/** The direction (behind `finishSolve` the solution) of row `i` as a left operand of products. */
export const direction =
  (solver: WeightSource): RowQuad =>
  (i, c) =>
    inWork(solver, directionPlace(solver, i, c));

const ownColumn = ({ tile }: WeightSource, g: number): string => `tx + ${tile.threadsX * g}u`;

const ownDirection = (solver: WeightSource, i: number, g: number): string => direction(solver)(i, ownColumn(solver, g));

const setDirection = (solver: WeightSource, i: number, g: number, value: string): string =>
  toWork(solver, directionPlace(solver, i, ownColumn(solver, g)), value);

const perOwn = (solver: WeightSource, text: (g: number) => string): string =>
  unroll(groupsOf(solver.tile, solver.key.width), text, ' ');

/** The next tile of rows, the longest first, or the end: opens the loop over tiles. Sets `head` and `firstRow`. */
export function nextTile(tile: Tile): string {
  return `
  let region = workgroup.x * params.regionQuads;
  loop {
  if (tid == 0u) { shared_number.x = atomicAdd(&progress[${tile.matrices ? 4 : 0}], 1u); }
  let tileNumber = workgroupUniformLoad(&shared_number).x;
  if (tileNumber >= params.tiles) { break; }
  let heads = params.tiles / params.rowTiles;
  let head = tileNumber % heads;
  let firstRow = (params.rowTiles - 1u - tileNumber / heads) * ${blockRowsOf(tile)}u;
  ${perRow(tile, (i) => `let row${i} = head * params.Tqp + firstRow + ty + ${tile.threadsY * i}u;`)}`;
}

/** Keys a dimension below which half precision is too coarse for the solve: there the ridge alone holds much of the solution. */
const FEWEST_KEYS = 2;

/** Whether the tile is for this kernel; one by matrices leaves tiles of rows that see few keys to the one in float32. */
export function takeTile({ tile, isSecond }: AttentionShape): string {
  if (isSecond) return `${readFlag} if (!isFlagged) { continue; }`;
  if (!tile.matrices) return '';
  return `if (bound(firstRow) < max(${FEWEST_KEYS}u * params.D, ${FEWEST_VISIBLE}u)) {
    if (tid == 0u) { ${flag('firstRow')} }
    continue;
  }`;
}

/** Weights `w{i}_{q}` of the columns of tile `t`, a quad each, from what was kept or anew; with them, products of `sets` with keys or as `make` makes them. */
export function weightsAgain(
  solver: WeightSource,
  sets: readonly Products[],
  make: (all: readonly Products[]) => string = (all) => products(solver.tile, solver.key, all),
): string {
  const { tile, query, hasKeyTerms } = solver;
  const kept = keptBy(solver);
  if (kept && tile.matrices) {
    // Asked for before the products, of which memory is slower.
    return `${perQuad(tile, (i, q) => (q % keptPacking(tile) === 0 ? `let kept${i}_${q} = ${keptPlace(tile, kept, i, q, 't')};` : ''))}
    ${make(sets)}
    ${perQuad(tile, (i, q) => `let w${i}_${q} = unpackHalves(kept${i}_${q - (q % keptPacking(tile))}.${keptHalf(q)});`)}`;
  }
  if (kept) {
    return `${make(sets)}
    ${perQuad(tile, (i, q) => `let w${i}_${q} = ${keptQuad(tile, kept, i, q)};`)}`;
  }
  return `${make([{ name: 's', row: query }, ...sets])}
    ${finishScores(tile, 's', hasKeyTerms)}
    ${perQuad(tile, (i, q) => `let w${i}_${q} = ${asOperand(tile, `exp2(${quadOf('s', i, q)} - m${i})`)};`)}`;
}

/**
 * Begins the solve. `l{i}` has been reduced and `inverse{i}` is its inverse; accumulator `mean` holds the sums of
 * weighted keys. `right(i, g)` is the right-hand side. It is scaled to unit length, since squares of small numbers would
 * leave the range of float32. Rows of zeros, and those with a small ridge, which a direct solver is left to, do not move.
 */
export function beginSolve(solver: WeightSource, mean: string, right: (i: number, g: number) => string): string {
  const { tile } = solver;
  return `
  ${perRow(
    tile,
    (i) => `var squares${i} = 0.0;
    ${perOwn(
      solver,
      (
        g,
      ) => `{ let kbar = ${mean}${i}_${g} * inverse${i}; ${setQuad(solver, MEAN_KEY, i, g, 'kbar')} let b = ${right(i, g)};
      ${setQuad(solver, RESIDUAL, i, g, 'b')} ${setQuad(solver, SOLUTION, i, g, 'vec4f()')} squares${i} += dot(b, b); }`,
    )}`,
  )}
  ${reduceRows(tile, ['squares'], 'sum')}
  ${perRow(
    tile,
    (i) => `let length${i} = sqrt(squares${i}); var shift${i} = 0.0;
    { let unit = select(0.0, 1.0 / length${i}, squares${i} > 0.0);
    ${perOwn(
      solver,
      (g) => `{ let r = ${ownQuad(solver, RESIDUAL, i, g)} * unit; ${setQuad(solver, RESIDUAL, i, g, 'r')}
      let u = ${asOperand(tile, 'r')}; ${setDirection(solver, i, g, 'u')} shift${i} += dot(u, ${meanKey(solver, i, g)}); }`,
    )} }`,
  )}
  ${reduceRows(tile, ['shift'], 'sum')}
  ${perRow(
    tile,
    (
      i,
    ) => `var rr${i} = 1.0; let target${i} = targetFor(bound${i}); var isLive${i} = squares${i} > 0.0 && info${i}.z == 0.0;
    var isMissed${i} = squares${i} > 0.0 && info${i}.z != 0.0; var iterations${i} = 0u; var smallest${i} = 1e37;`,
  )}`;
}

/**
 * Iterates until every row has its tolerance or the cap is reached. A row stops when `|r| |r| / |r_before|` is below the
 * tolerance, and then takes one more step along the next direction with the last step's length, which costs no product
 * and is worth almost an iteration; at most the factor behind `leastDrop`, lest one lucky drop of the residual stand for
 * convergence. That step is at most twice the row's smallest: rounding leaves something of directions of large eigenvalues in
 * the residual, and a step of the length that suits small ones would blow it up.
 * `a` is an accumulator of the keys' width.
 */
export function iterate(solver: WeightSource): string {
  const { tile, key } = solver;
  const unit = `(8.0 * unit_u * ${key.unit})`;
  const apply = (i: number): string => `var curvature${i} = 0.0; ${tile.matrices ? `var along${i} = 0.0;` : ''}
    ${perOwn(
      solver,
      (g) => `{ let u = ${ownDirection(solver, i, g)}; let drifted = a${i}_${g} - drift${i} * ${meanKey(solver, i, g)};
      a${i}_${g} = fma(u, vec4f(info${i}.x), drifted * inverse${i});
      curvature${i} += dot(u, a${i}_${g}); ${tile.matrices ? `along${i} += dot(u, ${ownQuad(solver, RESIDUAL, i, g)});` : ''} }`,
    )}`;
  const step = (i: number): string => `let moves${i} = isLive${i} && curvature${i} > 0.0;
    let alpha${i} = select(0.0, ${tile.matrices ? 'along' : 'rr'}${i} / max(curvature${i}, 1e-37), moves${i});
    isMissed${i} = isMissed${i} || (isLive${i} && !moves${i});
    iterations${i} += select(0u, 1u, moves${i});
    smallest${i} = select(smallest${i}, min(smallest${i}, alpha${i}), moves${i});
    var next${i} = 0.0; var meanPart${i} = 0.0;
    ${perOwn(
      solver,
      (
        g,
      ) => `{ ${setQuad(solver, SOLUTION, i, g, `${solution(solver, i, g)} + alpha${i} * ${ownDirection(solver, i, g)}`)}
      let r = ${ownQuad(solver, RESIDUAL, i, g)} - alpha${i} * a${i}_${g}; ${setQuad(solver, RESIDUAL, i, g, 'r')}
      next${i} += dot(r, r); meanPart${i} += dot(r, ${meanKey(solver, i, g)}); }`,
    )}`;
  const turn = (i: number): string => `{
    let beta = select(0.0, next${i} / max(rr${i}, 1e-37), moves${i});
    let isDone = moves${i} && next${i} * max(beta, params.leastDrop) <= target${i};
    let last${i} = min(alpha${i}, 2.0 * smallest${i});
    shift${i} = ${tile.matrices ? '0.0' : `meanPart${i} + beta * shift${i}`};
    ${perOwn(
      solver,
      (
        g,
      ) => `{ let u = ${asOperand(tile, `${ownQuad(solver, RESIDUAL, i, g)} + beta * ${ownDirection(solver, i, g)}`)}; ${setDirection(solver, i, g, 'u')}
      ${tile.matrices ? `shift${i} += dot(u, ${meanKey(solver, i, g)});` : ''}
      if (isDone) { ${setQuad(solver, SOLUTION, i, g, `${solution(solver, i, g)} + last${i} * u`)} } }`,
    )}
    rr${i} = next${i};
    isLive${i} = moves${i} && !isDone;
    }`;
  return `
  var iteration = 0u;
  loop {
    if (${perRow(tile, (i) => `isLive${i}`, ' || ')}) { flag.y = 1u; }
    let anyLive = workgroupUniformLoad(&flag).y != 0u;
    // Here, not later: barriers have to stand between this and the next setting, and reductions may be without.
    if (tid == 0u) { flag.y = 0u; }
    if (!anyLive || iteration >= params.maxIterations) { break; }
    iteration++;
    storageBarrier();
    ${clearAccumulator(tile, 'a', key.width)}
    // The sum of p y.u is zero but for the rounding of u.kbar, which this takes out.
    ${perRow(tile, (i) => `var drift${i} = 0.0;`, ' ')}
    ${operand(tile, { name: 'u', row: direction(solver) }, key.width)}
    ${overColumns(
      tile,
      [key],
      'keyTiles',
      `${weightsAgain(solver, [{ name: 'u', row: direction(solver) }])}
      ${perQuad(tile, (i, q) => `let z${i}_${q} = ${asOperand(tile, `w${i}_${q} * (${quadOf('u', i, q)} - shift${i})`)};`)}
      ${perRow(tile, (i) => `drift${i} += ${sumOfQuads(tile, 'z', i)};`)}
      ${storeWeights(tile, (i, q) => `z${i}_${q}`, unit)}
      ${stageNext(tile, [key])}
      ${accumulate(tile, 'a', key, true)}`,
    )}
    ${readAccumulator(tile, 'a', key.width, `(${unit} * ${key.unit})`)}
    ${reduceRows(tile, ['drift'], 'sum')}
    ${perRow(tile, apply)}
    ${reduceRows(tile, tile.matrices ? ['curvature', 'along'] : ['curvature'], 'sum')}
    ${perRow(tile, step)}
    ${reduceRows(tile, ['next', 'meanPart'], 'sum')}
    ${perRow(tile, turn)}
    ${tile.matrices ? reduceRows(tile, ['shift'], 'sum') : ''}
  }
  ${perRow(tile, (i) => `isMissed${i} = isMissed${i} || isLive${i};`, ' ')}`;
}

/**
 * Ends the solve: the solution in its own length, also as `direction`; `meanProduct{i}` is its product with the mean key,
 * `size{i}` and `meanSize{i}` are squared norms for `refineMeans`. Counts iterations, and flags the rows that missed.
 */
export function finishSolve(solver: WeightSource): string {
  const { tile } = solver;
  const missed = (i: number): string =>
    tile.matrices
      ? `if (info${i}.y == 0.0 && (isMissed${i} || ${hasCoarseScores(i)} || ${isLarge('size', i)})) { ${flag(`(firstRow + ty + ${tile.threadsY * i}u)`)} }`
      : `if (isMissed${i}) { atomicStore(&progress[${PROGRESS_HEAD}u + row${i}], 1u); }`;
  return `
  ${perRow(
    tile,
    (i) => `var meanProduct${i} = 0.0; var size${i} = 0.0; var meanSize${i} = 0.0;
    ${perOwn(
      solver,
      (
        g,
      ) => `{ let x = ${solution(solver, i, g)} * length${i}; ${setQuad(solver, SOLUTION, i, g, 'x')} ${setDirection(solver, i, g, 'x')}
      let kbar = ${meanKey(solver, i, g)}; meanProduct${i} += dot(x, kbar); size${i} += dot(x, x); meanSize${i} += dot(kbar, kbar); }`,
    )}`,
  )}
  ${reduceRows(tile, ['meanProduct', 'size', 'meanSize'], 'sum')}
  storageBarrier();
  if (tx == 0u) {
    ${perRow(
      tile,
      (i) => `atomicAdd(&progress[1], iterations${i}); atomicMax(&progress[2], iterations${i});
    ${missed(i)}`,
    )}
  }
  if (tid == 0u) { atomicAdd(&progress[3], iteration); }`;
}

/** Products of a vector with the mean key above this size in a row have their mean taken with more care. */
const LARGE_PRODUCTS = '64.0';

/** Whether row `i` has such products, by the squared norms `size{i}` and `meanSize{i}`. */
export const isLarge = (size: string, i: number): string =>
  `(${size}${i} * meanSize${i} > ${LARGE_PRODUCTS} * ${LARGE_PRODUCTS})`;
