import {
  add,
  concat,
  fill,
  greater,
  expandDims,
  matMul,
  mul,
  range,
  slice,
  type Tensor,
  tensor2d,
  type Rank,
  type Tensor3D,
  tidy,
} from '@tensorflow/tfjs-core';

import { visibleKeys } from '../dims.js';
import { toFloat32 } from '../to_float32.js';
import type { ComposedProblem } from './problem.js';

/** Query rows per chunk: the state is applied and extended once a chunk, within a chunk rows meet keys one by one. */
export const CHUNK_Q = 64;

/** A chunk of query rows: keys before `shared` are seen by all of its rows, keys from `last` on by none. */
export interface Chunk {
  readonly start: number;
  readonly rows: number;
  readonly shared: number;
  readonly last: number;
}

/** The chunks of at most `size` rows. */
export function chunksOf(problem: ComposedProblem, size = CHUNK_Q): Chunk[] {
  const { dims, causal } = problem;
  const chunks: Chunk[] = [];
  for (let start = 0; start < dims.Tq; start += size) {
    const rows = Math.min(size, dims.Tq - start);
    const [shared, last] = [start, start + rows - 1].map((row) => visibleKeys(dims, causal, row));
    chunks.push({ start, rows, shared, last });
  }
  return chunks;
}

/** 1 where a row of the chunk sees a key between `shared` and `last`, `[rows, last - shared]`. */
export function chunkMask(problem: ComposedProblem, { start, rows, shared, last }: Chunk): Tensor {
  const bounds = Array.from({ length: rows }, (_, r) => visibleKeys(problem.dims, problem.causal, start + r) - shared);
  return toFloat32(greater(tensor2d(bounds, [rows, 1]), expandDims(range(0, last - shared), 0)));
}

/** Rows `first .. end - 1` of a `[heads, T, n]` tensor. */
export function rowsOf(x: Tensor3D, first: number, end: number): Tensor3D {
  return slice(x, [0, first, 0], [x.shape[0], end - first, x.shape[2]]);
}

/** `out_i = sum over keys j seen by i of (a_i.b_j) w_j`: `a [heads, Tq, A]`, `b [heads, Tk, A]`, `w [heads, Tk, W]`. */
export function overKeys(problem: ComposedProblem, a: Tensor3D, b: Tensor3D, w: Tensor3D): Tensor3D {
  return tidy(() => {
    let state = fill<Rank.R3>([a.shape[0], a.shape[2], w.shape[2]], 0);
    let absorbed = 0;
    const parts = chunksOf(problem).map((chunk) => {
      const { start, rows, shared, last } = chunk;
      const previous = state;
      const [part, next] = tidy(() => {
        const extended = addProducts(previous, b, w, absorbed, shared);
        const query = rowsOf(a, start, start + rows);
        let out: Tensor3D = matMul(query, extended);
        if (last > shared) {
          const scores = scoresWithin(problem, chunk, query, rowsOf(b, shared, last));
          out = add(out, matMul(scores, rowsOf(w, shared, last)));
        }
        return [out, extended];
      });
      previous.dispose();
      state = next;
      absorbed = shared;
      return part;
    });
    return concat(parts, 1);
  });
}

/** `out_j = sum over rows i that see key j of (a_i.b_j) w_i`: `a [heads, Tq, A]`, `b [heads, Tk, A]`, `w [heads, Tq, W]`. */
export function overRows(problem: ComposedProblem, a: Tensor3D, b: Tensor3D, w: Tensor3D): Tensor3D {
  return tidy(() => {
    let state = fill<Rank.R3>([a.shape[0], a.shape[2], w.shape[2]], 0);
    // Keys from here on are done. Chunks run backwards, so the state holds the rows after the chunk.
    let done = problem.dims.Tk;
    const parts: Tensor3D[] = [];
    const flush = (first: number): void => {
      if (first < done) parts.push(tidy(() => matMul(rowsOf(b, first, done), state)));
      done = Math.min(done, first);
    };
    for (const chunk of chunksOf(problem).reverse()) {
      const { start, rows, shared, last } = chunk;
      flush(last);
      if (last > shared) {
        parts.push(
          tidy(() => {
            const keys = rowsOf(b, shared, last);
            const scores = scoresWithin(problem, chunk, rowsOf(a, start, start + rows), keys);
            return add(matMul(keys, state), matMul(scores, rowsOf(w, start, start + rows), true, false));
          }),
        );
        done = shared;
      }
      const previous = state;
      state = tidy(() => addProducts(previous, a, w, start, start + rows));
      previous.dispose();
    }
    flush(0);
    return concat(parts.reverse(), 1);
  });
}

function scoresWithin(problem: ComposedProblem, chunk: Chunk, query: Tensor3D, keys: Tensor3D): Tensor3D {
  return mul(matMul(query, keys, false, true), chunkMask(problem, chunk));
}

/** `state + sum of left_j right_j^T` over rows `first .. end - 1`. */
function addProducts(state: Tensor3D, left: Tensor3D, right: Tensor3D, first: number, end: number): Tensor3D {
  if (end <= first) return state.clone();
  return add(state, matMul(rowsOf(left, first, end), rowsOf(right, first, end), true, false));
}
