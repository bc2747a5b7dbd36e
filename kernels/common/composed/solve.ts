import {
  add,
  any,
  cast,
  concat,
  div,
  fill,
  gather,
  greater,
  less,
  logicalAnd,
  logicalNot,
  logicalOr,
  matMul,
  maximum,
  mul,
  reshape,
  slice,
  sqrt,
  sub,
  sum,
  type Tensor,
  tensor1d,
  type Tensor3D,
  tidy,
  where,
  zerosLike,
} from '@tensorflow/tfjs-core';

import { SMALL_RIDGE, type SolverAttrs } from '../../local_linear_attention/spec.js';
import { addDiagonal, solveDefinite } from './definite.js';
import { centredProducts, type WeightBlock } from './probe_attention.js';
import { BLOCK_FLOATS, type ComposedContext, keepWhere } from './problem.js';
import { rowDot } from './row_blocks.js';

/** Iterations between two looks at whether any row still moves: a look costs about as much as an iteration saves. */
const LOOK_EVERY = 4;

/** Up to this head dimension the direct solver is no slower than the iterations that float32 needs (measured on wasm). */
const DIRECT_UP_TO_D = 8;

/** Solves `(C + ridge I) x = b [heads, rows, D]` for a block of rows; rows whose `b` is zero get zero. */
export function solveBlock(
  weights: WeightBlock,
  b: Tensor3D,
  ridge: Tensor3D,
  attrs: SolverAttrs,
  context: ComposedContext,
): Tensor3D {
  return tidy(() => {
    const [, , D] = b.shape;
    const size = sqrt(sum(mul(b, b), 2, true));
    const isZero = logicalNot(greater(size, 0));
    // Right-hand sides of unit length: squares of small ones would leave the range of float32.
    const unit = div<Tensor3D>(b, where(isZero, fill(size.shape, 1), size));
    return mul<Tensor3D>(solveUnit(), size);

    function solveUnit(): Tensor3D {
      const { solver, maxIterations } = attrs;
      if (solver === 'conjugateGradient') return iterate(weights, unit, ridge, attrs, maxIterations, context).x;
      // Where nothing can be read back an iteration can neither stop early nor tell that it failed; forming the system
      // costs less than running all of maxIterations.
      if (solver === 'direct' || !context.readsBack || D <= DIRECT_UP_TO_D) return solveRows(weights, unit, ridge);
      const isSmall = logicalAnd(less(ridge, mul(weights.variance, SMALL_RIDGE)), logicalNot(isZero));
      const { x, missed: failed } = iterate(
        weights,
        keepWhere(logicalNot(isSmall), unit),
        ridge,
        attrs,
        maxIterations,
        context,
      );
      const missed = logicalOr<Tensor3D>(failed, isSmall);
      const rows = indicesOf(missed);
      if (rows.length === 0) return x;
      return replaceRows(x, missed, rows, solveRows(weights, unit, ridge, rows));
    }
  });
}

type IterationState = {
  x: Tensor3D;
  residual: Tensor3D;
  direction: Tensor3D;
  /** Squared norm of the residual, `[heads, rows, 1]`. */
  rr: Tensor3D;
  /** Bool `[heads, rows, 1]`: rows that still move, and rows that gave up. */
  active: Tensor3D;
  broken: Tensor3D;
};

/** Conjugate gradient on every row at once; `missed` are the rows that did not reach their tolerance. */
function iterate(
  weights: WeightBlock,
  b: Tensor3D,
  ridge: Tensor3D,
  attrs: SolverAttrs,
  maxIterations: number,
  context: ComposedContext,
): { x: Tensor3D; missed: Tensor3D } {
  const rr0 = rowDot(b, b);
  const target = mul<Tensor3D>(rr0, attrs.tolerance * attrs.tolerance);
  const active = greater<Tensor3D>(rr0, 0);
  let state: IterationState = {
    x: zerosLike(b),
    residual: b,
    direction: b,
    rr: rr0,
    active,
    broken: zerosLike(active),
  };
  for (let iteration = 0; iteration < maxIterations; iteration++) {
    const previous = state;
    state = tidy(() => step(previous, weights, ridge, target));
    if (iteration > 0) for (const tensor of Object.values(previous)) tensor.dispose();
    const isLook = context.readsBack && iteration % LOOK_EVERY === LOOK_EVERY - 1;
    if (isLook && tidy(() => any(state.active).dataSync()[0]) === 0) break;
  }
  return { x: state.x, missed: logicalOr(state.active, state.broken) };
}

function step(state: IterationState, weights: WeightBlock, ridge: Tensor3D, target: Tensor3D): IterationState {
  const { x, residual, direction, rr } = state;
  const image = applyCovariance(weights, direction, ridge);
  const curvature = rowDot(direction, image);
  const moves = logicalAnd<Tensor3D>(state.active, greater(curvature, 0));
  const ones = fill(curvature.shape, 1);
  const none = zerosLike(curvature);
  const alpha = where(moves, div(rr, where(moves, curvature, ones)), none);
  const nextResidual = sub<Tensor3D>(residual, mul(alpha, image));
  const nextRr = rowDot(nextResidual, nextResidual);
  const beta = where(moves, div(nextRr, where(moves, rr, ones)), none);
  return {
    x: add(x, mul(alpha, direction)),
    residual: nextResidual,
    direction: add(nextResidual, mul(beta, direction)),
    rr: nextRr,
    active: logicalAnd(moves, greater(nextRr, target)),
    broken: logicalOr(state.broken, logicalAnd(state.active, logicalNot(moves))),
  };
}

/** `(C + ridge I) u`; C is applied, never formed. */
function applyCovariance(weights: WeightBlock, u: Tensor3D, ridge: Tensor3D): Tensor3D {
  const products = mul<Tensor3D>(weights.weights, centredProducts(weights, u));
  const mean = mul(sum(products, 2, true), weights.kbar);
  return add(sub(matMul(products, weights.key), mean), mul(ridge, u));
}

/**
 * Forms and solves the system of the rows with the given indices into `heads x rows` (all of them where none are given),
 * `[count, D]` in that order, or `[heads, rows, D]` for all.
 */
function solveRows(weights: WeightBlock, b: Tensor3D, ridge: Tensor3D, indices?: number[]): Tensor3D {
  const [heads, rows, D] = b.shape;
  const { keys } = weights.block;
  const wanted = indices ?? Array.from({ length: heads * rows }, (_, i) => i);
  const chunk = Math.max(1, Math.floor(BLOCK_FLOATS / Math.max(keys * D, 4 * D * D)));
  const flat = (x: Tensor3D): Tensor => reshape(x, [heads * rows, x.shape[2]]);
  const parts: Tensor[] = [];
  for (let first = 0; first < wanted.length; first += chunk) {
    const some = wanted.slice(first, first + chunk);
    parts.push(
      tidy(() => {
        const at = tensor1d(some, 'int32');
        const head = tensor1d(
          some.map((index) => Math.floor(index / rows)),
          'int32',
        );
        const pick = (x: Tensor3D): Tensor3D => reshape(gather(flat(x), at), [some.length, -1, x.shape[2]]);
        const y = sub<Tensor3D>(gather(weights.key, head), pick(weights.kbar));
        const p = reshape(pick(weights.weights), [some.length, keys, 1]);
        const covariance: Tensor3D = matMul(y, mul<Tensor3D>(y, p), true, false);
        const right: Tensor3D = reshape(pick(b), [some.length, D, 1]);
        const ridges = pick(ridge);
        return reshape(solveDefinite(addDiagonal(covariance, ridges), right, ridges), [some.length, D]);
      }),
    );
  }
  const solved = parts.length === 1 ? parts[0] : concat(parts, 0);
  return reshape(solved, indices ? [1, wanted.length, D] : [heads, rows, D]);
}

/** Indices into `heads x rows` where `flags` holds; reads them back. */
function indicesOf(flags: Tensor3D): number[] {
  return [...cast(flags, 'int32').dataSync().entries()].flatMap(([index, flag]) => (flag === 0 ? [] : [index]));
}

/** `x` with the rows of `indices`, in which `flags` holds, replaced by `solved [1, count, D]`. */
function replaceRows(x: Tensor3D, flags: Tensor3D, indices: number[], solved: Tensor3D): Tensor3D {
  const [heads, rows, D] = x.shape;
  const position = new Int32Array(heads * rows);
  indices.forEach((index, i) => (position[index] = i));
  const spread = gather(reshape(solved, [indices.length, D]), tensor1d(position, 'int32'));
  return where(flags, reshape(spread, [heads, rows, D]), x);
}

/** Rows of `ridge` that belong to a block, as `[heads, rows, 1]`. */
export function blockRidge(ridge: Tensor3D | number, heads: number, start: number, rows: number): Tensor3D {
  if (typeof ridge === 'number') return fill([heads, rows, 1], ridge);
  return maximum(slice(ridge, [0, start, 0], [heads, rows, 1]), 0);
}
