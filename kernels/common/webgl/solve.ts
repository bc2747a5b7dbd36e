import { SMALL_RIDGE, type SolverAttrs } from '../../local_linear_attention/spec.js';
import { MAX_MULTIPLY_ADDS, tilesOf } from './blocks.js';
import type { Region } from './call.js';
import type { Image } from './device.js';
import { eliminateShader, formShader, solutionShader, substituteShader } from './direct.glsl.js';
import type { Rows } from './rows.js';
import {
  directionProductsShader,
  imageSumShader,
  scalarsShader,
  solveSetupShader,
  startScalarsShader,
  startShader,
  updateShader,
} from './solve.glsl.js';

/** Up to this head dimension forming a system costs no more than the iterations that float32 needs. */
const DIRECT_UP_TO_D = 8;

/** Bytes of the two copies of a chunk's systems. */
const SYSTEM_BYTES = 1.5 * 2 ** 20;

/** Below this tolerance a stopping row counts on a drop of 2 at most, else of 10 (docs/decisions/0004). */
const FINE_TOLERANCE = 1e-4;

/** What the solver reads besides the rows' own matrices. */
export interface System {
  /** Right-hand sides, as wide as the keys; it is given back. */
  readonly right: Image;
  /** Weighted means of the keys. */
  readonly kbar: Image;
  /** A matrix of the block's rows and keys that may be written over. */
  readonly scratch: Image;
}

/**
 * How many iterations a row gets: all of them where the iteration is asked for; under `auto` half of D at the most, for then
 * a direct solve costs no more than what was spent.
 */
function iterationsOf({ solver, maxIterations }: SolverAttrs, D: number): number {
  if (solver === 'conjugateGradient') return maxIterations;
  return solver === 'direct' || D <= DIRECT_UP_TO_D ? 0 : Math.min(maxIterations, Math.ceil(D / 2));
}

/**
 * Solves `(C + ridge I) x = right` for a block of rows without reading anything back: rows that reached their tolerance are
 * skipped by the draws that follow, and so are, by the direct solver, those that are done.
 */
export function solve(rows: Rows, system: System, attrs: SolverAttrs): Image {
  const { call, keys, params, info } = rows;
  const { D } = call.dims;
  const { right } = system;
  const { width } = keys;
  const setup = rows.image(1);
  const iterations = iterationsOf(attrs, D);
  call.run(
    solveSetupShader,
    { right, rowInfo: info, rowStats: rows.stats, centre: keys.centre },
    {
      ...params,
      D,
      width,
      tolerance: attrs.tolerance,
      smallRidge: SMALL_RIDGE,
      direct: iterations === 0 ? 2 : Number(attrs.solver === 'auto'),
    },
    setup,
  );
  let scalars = rows.image(1);
  call.run(startScalarsShader, { setup, right, kbar: system.kbar }, { width }, scalars);
  let vectors = rows.image(3 * width);
  call.run(startShader, { right, setup }, { width }, vectors);
  if (iterations > 0) [vectors, scalars] = iterate(rows, { ...system, setup }, { vectors, scalars }, iterations, attrs);
  const solution = rows.image(width);
  const common = { vectors, setup, scalars };
  const size = tilesOf(D);
  if (attrs.solver === 'conjugateGradient') {
    call.run(solutionShader, { ...common, solved: setup }, { size, firstTile: 0, hasSolved: 0 }, solution);
  } else {
    solveMissed(rows, { ...system, setup, scalars }, (solved, firstTile, region) => {
      call.run(solutionShader, { ...common, solved }, { size, firstTile, hasSolved: 1 }, solution, region);
    });
  }
  rows.give(right, setup, scalars, vectors);
  return solution;
}

interface Moving {
  readonly vectors: Image;
  readonly scalars: Image;
}

/** Conjugate gradient on all rows at once. */
function iterate(
  rows: Rows,
  { kbar, scratch, setup }: System & { setup: Image },
  start: Moving,
  iterations: number,
  { tolerance }: SolverAttrs,
): [Image, Image] {
  const { call, keys, params, info } = rows;
  const { D } = call.dims;
  const { width } = keys;
  const { tiles } = rows;
  let { vectors, scalars } = start;
  let [nextVectors, nextScalars] = [rows.image(3 * width), rows.image(1)];
  const sums = rows.image(width);
  const inner = tilesOf(D);
  const lowestDrop = tolerance < FINE_TOLERANCE ? 0.5 : 0.1;
  for (let iteration = 0; iteration <= iterations; iteration++) {
    const isLast = iteration === iterations;
    if (!isLast) {
      const images = { vectors, keys: keys.key, weights: rows.weights, scalars };
      call.run(directionProductsShader, images, { ...params, inner, width, tiles }, scratch, rows.seen);
      call.run(imageSumShader, { weights: scratch, keys: keys.key, scalars }, { ...params, tiles }, sums);
    }
    const common = { vectors, sums, kbar, rowInfo: info };
    const stepParams = { D, width, isLast: Number(isLast), lowestDrop };
    call.run(scalarsShader, { ...common, setup, before: scalars }, stepParams, nextScalars);
    [scalars, nextScalars] = [nextScalars, scalars];
    call.run(updateShader, { ...common, scalars }, stepParams, nextVectors);
    [vectors, nextVectors] = [nextVectors, vectors];
  }
  rows.give(nextVectors, nextScalars, sums);
  return [vectors, scalars];
}

/** Solves directly what missed, by chunks of the block's rows; `done` gets the solutions of each. */
function solveMissed(
  rows: Rows,
  system: System & { readonly setup: Image; readonly scalars: Image },
  done: (solved: Image, firstTile: number, region: Region) => void,
): void {
  const { call, keys, params, info } = rows;
  const { D } = call.dims;
  const { right, kbar, setup, scalars } = system;
  const size = tilesOf(D);
  const { maxSize } = call.device;
  const bytes = 2 * 64 * 4 * size * (size + 1);
  const fitting = Math.floor(Math.min(SYSTEM_BYTES / bytes, maxSize / (4 * size)));
  const tiles = Math.max(1, Math.min(rows.tiles, fitting));
  const height = 4 * tiles * size;
  let [matrix, next] = [0, 1].map(() => call.image(`${4 * tiles} systems`, size + 1, height));
  let [solved, nextSolved] = [0, 1].map(() => call.image(`${4 * tiles} systems`, size, 4 * tiles));
  const keysPerDraw = Math.max(1, Math.floor(MAX_MULTIPLY_ADDS / (4 * tiles * (D + 4) ** 2) / 4));
  for (let firstTile = 0; firstTile < rows.tiles; firstTile += tiles) {
    const chunk = Math.min(tiles, rows.tiles - firstTile);
    const region = { width: size + 1, height: 4 * chunk * size };
    const common = { scalars, rowInfo: info };
    const place = { size, firstTile, tiles: chunk };
    for (let from = 0; from === 0 || from < rows.block.seenTiles; from += keysPerDraw) {
      const images = { ...common, weights: rows.weights, keys: keys.key, kbar, right, setup, before: matrix };
      call.run(formShader, images, { ...params, ...place, D, from, to: from + keysPerDraw }, next, region);
      [matrix, next] = [next, matrix];
    }
    for (let pivot = 0; pivot < size - 1; pivot++) {
      call.run(eliminateShader, { ...common, matrix }, { ...place, pivot }, next, region);
      [matrix, next] = [next, matrix];
    }
    for (let pivot = size - 1; pivot >= 0; pivot--) {
      const systems = { width: size, height: 4 * chunk };
      call.run(substituteShader, { ...common, matrix, solved }, { ...place, pivot }, nextSolved, systems);
      [solved, nextSolved] = [nextSolved, solved];
    }
    done(solved, firstTile, { width: keys.width, height: chunk, y: firstTile });
  }
  call.release(matrix, next, solved, nextSolved);
}
