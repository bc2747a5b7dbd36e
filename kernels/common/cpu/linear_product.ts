import { from, multiplyAdd, rowMajor, transpose } from './matrix.js';
import { BLOCK_Q, forKeyBlocks } from './softmax_tile.js';
import type { Workspace } from './workspace.js';

/** Rows of a matrix, `columns` numbers each. */
export interface Rows {
  readonly data: Float64Array;
  readonly columns: number;
}

/**
 * The two sums that linear and mesa attention and their gradients are made of. `bound(i)` is the number of keys before
 * the causal bound of row `i`, which never falls; a hidden key is a row of zeros. Both take time linear in `Tq + Tk`:
 * what all rows of a block share is carried from block to block as a matrix `sum_j b_j w_j^T`.
 */
export class LinearProduct {
  private readonly scores: Float64Array;
  private state: Float64Array = new Float64Array(0);

  constructor(
    private readonly workspace: Workspace,
    private readonly Tq: number,
    private readonly Tk: number,
    private readonly bound: (row: number) => number,
  ) {
    this.scores = workspace.take(BLOCK_Q * BLOCK_Q);
  }

  /** `out_i += sum over keys j seen by i of (a_i.b_j) w_j` for rows `a`, keys `b` and `w`. */
  overKeys(a: Rows, b: Rows, w: Rows, out: Float64Array): void {
    const state = this.emptyState(b.columns * w.columns);
    const S = rowMajor(state, w.columns);
    let absorbed = 0;
    for (let start = 0; start < this.Tq; start += BLOCK_Q) {
      const rows = Math.min(BLOCK_Q, this.Tq - start);
      const shared = this.bound(start);
      const last = this.bound(start + rows - 1);
      addOuterProducts(state, b, w, absorbed, shared);
      absorbed = shared;
      const A = rowMajor(a.data, a.columns, start);
      const O = rowMajor(out, w.columns, start);
      multiplyAdd(O, A, S, rows, w.columns, a.columns);
      if (last > shared) {
        this.score(a, b, start, rows, shared, last - shared);
        const W = rowMajor(w.data, w.columns, shared);
        multiplyAdd(O, rowMajor(this.scores, BLOCK_Q), W, rows, w.columns, last - shared);
      }
    }
  }

  /** `out_j += sum over rows i that see key j of (a_i.b_j) w_i` for rows `a` and `w`, keys `b`. */
  overRows(a: Rows, b: Rows, w: Rows, out: Float64Array): void {
    const state = this.emptyState(a.columns * w.columns);
    const S = rowMajor(state, w.columns);
    // Keys from here on are done. Blocks run backwards, so `state` holds the rows after the block.
    let done = this.Tk;
    const addState = (first: number): void => {
      const O = rowMajor(out, w.columns, first);
      multiplyAdd(O, rowMajor(b.data, b.columns, first), S, done - first, w.columns, b.columns);
      done = first;
    };
    for (let start = Math.floor((this.Tq - 1) / BLOCK_Q) * BLOCK_Q; start >= 0; start -= BLOCK_Q) {
      const rows = Math.min(BLOCK_Q, this.Tq - start);
      const shared = this.bound(start);
      const last = this.bound(start + rows - 1);
      addState(shared);
      if (last > shared) {
        this.score(a, b, start, rows, shared, last - shared);
        const W = rowMajor(w.data, w.columns, start);
        const O = rowMajor(out, w.columns, shared);
        multiplyAdd(O, transpose(rowMajor(this.scores, BLOCK_Q)), W, last - shared, w.columns, rows);
      }
      addOuterProducts(state, a, w, start, start + rows);
    }
    addState(0);
  }

  private emptyState(length: number): Float64Array {
    if (this.state.length < length) this.state = this.workspace.take(length);
    else this.state.fill(0);
    return this.state;
  }

  /** `scores [rows, count] = a b^T` over the keys that only some rows of the block see; 0 where a row does not. */
  private score(a: Rows, b: Rows, start: number, rows: number, first: number, count: number): void {
    const { scores } = this;
    scores.fill(0);
    const A = rowMajor(a.data, a.columns, start);
    const B = rowMajor(b.data, b.columns, first);
    multiplyAdd(rowMajor(scores, BLOCK_Q), A, transpose(B), rows, count, a.columns);
    for (let r = 0; r < rows; r++) {
      scores.fill(0, r * BLOCK_Q + this.bound(start + r) - first, r * BLOCK_Q + count);
    }
  }
}

/** `state [left, right] += sum of left_j right_j^T` over rows `first .. end - 1`. */
function addOuterProducts(state: Float64Array, left: Rows, right: Rows, first: number, end: number): void {
  const S = rowMajor(state, right.columns);
  const L = transpose(rowMajor(left.data, left.columns));
  const R = rowMajor(right.data, right.columns);
  forKeyBlocks(end - first, (offset, count) => {
    const at = first + offset;
    multiplyAdd(S, from(L, 0, at), from(R, at, 0), left.columns, right.columns, count);
  });
}
