import {
  add,
  all,
  concat,
  fill,
  greater,
  less,
  logicalAnd,
  matMul,
  min,
  mul,
  neg,
  ones,
  reshape,
  sub,
  sum,
  type Tensor,
  type Tensor3D,
  tidy,
  tile,
  transpose,
  where,
} from '@tensorflow/tfjs-core';

import { type ComposedKernel, runForward, runGradient } from '../common/composed/call.js';
import { addDiagonal, solveDefinite } from '../common/composed/definite.js';
import { LinearMarks } from '../common/composed/linear_marks.js';
import {
  type Chunk,
  chunkMask,
  CHUNK_Q,
  chunksOf,
  overKeys,
  overRows,
  rowsOf,
} from '../common/composed/linear_product.js';
import { BLOCK_FLOATS, ComposedProblem } from '../common/composed/problem.js';
import { type MesaAttentionAttrs, mesaAttentionSpec as spec } from './spec.js';

/** The ridge of every head, `[heads, D, 1]`; the rows of a head whose ridge is unusable are declared bad. */
function headRidge(problem: ComposedProblem, attrs: MesaAttentionAttrs): Tensor3D {
  const { batch, heads, Tq, D } = problem.dims;
  const input = problem.optional('ridge');
  if (input === undefined) return fill([heads, D, 1], attrs.ridge);
  const perHead: Tensor3D = reshape(input, [1, heads / batch, D]);
  const ridge: Tensor3D = reshape(tile(perHead, [batch, 1, 1]), [heads, D, 1]);
  const usable = logicalAnd(greater(ridge, 0), less(ridge, 3.4e38));
  // Over the last axis: tfjs transposes for any other, which its `webgpu` cannot do with a bool.
  problem.requireRows(tile(all(reshape(usable, [heads, 1, D]), 2, true), [1, Tq, 1]));
  return where(usable, ridge, fill(ridge.shape, 1));
}

/** `x_i = (K^T K + diag(ridge))^-1 b_i` over the keys that row `i` sees, `[heads, Tq, D]`. */
function solve(problem: ComposedProblem, ridge: Tensor3D, b: Tensor3D): Tensor3D {
  const { heads, D } = problem.dims;
  // Each row of a causal chunk has a D x D system of its own.
  const rows = Math.max(1, Math.min(CHUNK_Q, Math.floor(BLOCK_FLOATS / (heads * D * D))));
  const smallest: Tensor3D = min(ridge, 1, true);
  return tidy(() => {
    let H = addDiagonal((problem.optional('keyKeySum') as Tensor3D | undefined) ?? fill([heads, D, D], 0), ridge);
    let absorbed = 0;
    const size = problem.causal ? rows : problem.dims.Tq;
    const parts = chunksOf(problem, size).map((chunk) => {
      const previous = H;
      const first = absorbed;
      const [x, next] = tidy(() => {
        const shared = addGram(previous, problem.key, first, chunk.shared);
        const right = rowsOf(b, chunk.start, chunk.start + chunk.rows);
        return [solveChunk(problem, chunk, shared, right, smallest), shared];
      });
      previous.dispose();
      H = next;
      absorbed = chunk.shared;
      return x;
    });
    return concat(parts, 1);
  });
}

/** `H + sum k_j k_j^T` over keys `first .. end - 1`. */
function addGram(H: Tensor3D, key: Tensor3D, first: number, end: number): Tensor3D {
  if (end <= first) return H.clone();
  const keys = rowsOf(key, first, end);
  return add(H, matMul(keys, keys, true, false));
}

/** The rows of one chunk, given `H [heads, D, D]` of the keys that all of them see. */
function solveChunk(problem: ComposedProblem, chunk: Chunk, H: Tensor3D, b: Tensor3D, smallest: Tensor3D): Tensor3D {
  const { heads, D } = problem.dims;
  const { rows, shared, last } = chunk;
  if (last === shared) {
    // One system for all rows: they are its right-hand sides.
    return transpose(solveDefinite(H, transpose(b, [0, 2, 1]), smallest), [0, 2, 1]);
  }
  const own = rowsOf(problem.key, shared, last);
  const count = last - shared;
  const products = mul(reshape(own, [heads, count, D, 1]), reshape(own, [heads, count, 1, D]));
  const mask = reshape(chunkMask(problem, chunk), [1, rows, count]);
  const ownGram = matMul(tile(mask, [heads, 1, 1]), reshape(products, [heads, count, D * D]));
  const systems = add(reshape(ownGram, [heads, rows, D, D]), reshape(H, [heads, 1, D, D]));
  const pivots = mul(reshape(smallest, [heads, 1, 1]), ones([heads, rows, 1]));
  const x = solveDefinite(
    reshape(systems, [heads * rows, D, D]),
    reshape(b, [heads * rows, D, 1]),
    reshape(pivots, [heads * rows, 1, 1]),
  );
  return reshape(x, [heads, rows, D]);
}

/** `rows [heads, Tq, n]` plus what they get from the keys of earlier steps, where a cache holds their sums. */
function addBefore(problem: ComposedProblem, rows: Tensor3D, a: Tensor3D, transposed: boolean): Tensor3D {
  const before = problem.optional('keyValueSum') as Tensor3D | undefined;
  return before ? add(rows, matMul(a, before, false, transposed)) : rows;
}

/**
 * `out [..., Tq, Dv]` and `probe [..., Tq, D]`: `o_i = sum_j (x_i.k_j) v_j`. With the inputs of a step's kernel besides,
 * rows also see the keys of earlier steps.
 */
export const mesaAttentionComposed: ComposedKernel = (call) =>
  runForward(spec, call, false, (problem) => {
    const ridge = headRidge(problem, call.attrs as MesaAttentionAttrs);
    const marks = new LinearMarks(problem);
    const x = solve(problem, ridge, marks.keepOrdinary(problem.query));
    const out = addBefore(problem, overKeys(problem, x, problem.key, problem.value), x, false);
    return [marks.markRows(out), marks.markRows(x)];
  });

export const mesaAttentionGradComposed: ComposedKernel = (call) =>
  runGradient(spec, call, false, (problem) => {
    const ridge = headRidge(problem, call.attrs as MesaAttentionAttrs);
    const dout = problem.rows('dout');
    const probe = problem.rows('probe');
    const marks = new LinearMarks(problem);
    const { key, value } = problem;
    const g = marks.keepOrdinary(dout);
    const x = marks.keepOrdinary(probe);
    const u = solve(problem, ridge, addBefore(problem, overKeys(problem, g, value, key), g, true));
    const dk = sub<Tensor3D>(
      overRows(problem, g, value, x),
      add(overRows(problem, u, key, x), overRows(problem, x, key, u)),
    );
    return {
      query: marks.markRows(u),
      key: marks.markKeys(dk),
      value: marks.markKeys(overRows(problem, x, key, g)),
      ridge: ridgeGradient(problem, add(neg(sum(mul(u, x), 1, true)), marks.headMark())),
    };
  });

/** The sums of a step's kernel after its keys: `keyKeySum`, `keyValueSum` and `count`, as new tensors. */
export const mesaAttentionStateComposed: ComposedKernel = (call) =>
  tidy(() => {
    const problem = new ComposedProblem(spec, call, false);
    const { key, value } = problem;
    return [
      add(problem.tensor('keyKeySum'), matMul(key, key, true, false)),
      add(problem.tensor('keyValueSum'), matMul(key, value, true, false)),
      problem.countAfter(problem.tensor('count')),
    ];
  });

/** Sums `[heads, 1, D]` over the batch, which shares a ridge. */
function ridgeGradient(problem: ComposedProblem, perHead: Tensor): Tensor {
  const { batch, heads, D } = problem.dims;
  return sum(reshape(perHead, [batch, heads / batch, D]), 0);
}
