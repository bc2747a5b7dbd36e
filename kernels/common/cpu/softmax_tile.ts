import type { AttentionDims } from '../dims.js';
import { copyFinite, type Head, RowState } from './head.js';
import { from, type Matrix, multiplyAdd, rowMajor, transpose } from './matrix.js';
import type { Workspace } from './workspace.js';

/** Query rows that are worked on together: their weights over all keys stay in scratch. */
export const BLOCK_Q = 32;

/** Keys per step of a product: 64 keys of 64 floats are 32 KiB, a first-level cache. */
export const BLOCK_K = 64;

/** Calls `body(first, count)` for each block of `BLOCK_K` keys before `keys`. */
export function forKeyBlocks(keys: number, body: (first: number, count: number) => void): void {
  for (let first = 0; first < keys; first += BLOCK_K) body(first, Math.min(BLOCK_K, keys - first));
}

/** The softmax weights of up to `BLOCK_Q` query rows over the keys they see, and the mean key under them. */
export class SoftmaxTile {
  /** `[BLOCK_Q, D]`; zeros in rows that are not ordinary. */
  readonly query: Float64Array;
  /** `[BLOCK_Q, Tk]`: `p_ij`, 0 where row `i` does not see key `j`. */
  readonly weights: Float64Array;
  /** `[BLOCK_Q, D]`: `sum_j p_ij k_j`, relative to the head's centre. */
  readonly kbar: Float64Array;
  readonly state = new Uint8Array(BLOCK_Q);
  /** First row, number of rows, and number of keys before the causal bound of the last row. */
  start = 0;
  rows = 0;
  keys = 0;

  constructor(
    workspace: Workspace,
    readonly head: Head,
    private readonly source: ArrayLike<number>,
    private readonly scale: number,
  ) {
    const { Tk, D } = head.dims;
    this.query = workspace.take(BLOCK_Q * D);
    this.weights = workspace.take(BLOCK_Q * Tk);
    this.kbar = workspace.take(BLOCK_Q * D);
  }

  get dims(): AttentionDims {
    return this.head.dims;
  }

  /** Loads rows `start ...` of head `headIndex` (which `head` holds); computes weights and mean keys. */
  load(headIndex: number, start: number): this {
    const { Tq, Tk, D } = this.dims;
    this.start = start;
    this.rows = Math.min(BLOCK_Q, Tq - start);
    this.keys = this.head.bound(start + this.rows - 1);
    for (let r = 0; r < this.rows; r++) {
      const row = start + r;
      const finite = copyFinite(this.source, (headIndex * Tq + row) * D, this.query, r * D, D);
      const state = this.head.rowState(row, finite);
      this.state[r] = state;
      if (state !== RowState.ordinary) this.markRow(r, state);
      this.weights.fill(0, r * Tk, r * Tk + this.keys);
    }
    const Q = rowMajor(this.query, D);
    const K = rowMajor(this.head.key, D);
    multiplyAdd(rowMajor(this.weights, Tk), Q, transpose(K), this.rows, this.keys, D);
    for (let r = 0; r < this.rows; r++) this.normalize(r);
    this.kbar.fill(0);
    this.accumulate(this.kbar, this.weights, this.head.key, D);
    return this;
  }

  /** Marks a row; its query becomes zeros, so that nothing of it reaches other rows or keys. */
  markRow(r: number, state: number): void {
    this.state[r] = state;
    this.query.fill(0, r * this.dims.D, (r + 1) * this.dims.D);
  }

  /** Marks an ordinary row as bad where `finite` does not hold. */
  requireRow(r: number, finite: boolean): void {
    if (!finite && this.state[r] === RowState.ordinary) this.markRow(r, RowState.bad);
  }

  isOrdinary(r: number): boolean {
    return this.state[r] === RowState.ordinary;
  }

  /** `target [rows, columns] += W V` for `W [rows, Tk]` of this tile and `V [Tk, columns]`. */
  accumulate(target: Float64Array, W: Float64Array, V: Float64Array, columns: number): void {
    const wide = rowMajor(W, this.dims.Tk);
    const C = rowMajor(target, columns);
    forKeyBlocks(this.keys, (first, count) => {
      multiplyAdd(C, from(wide, 0, first), rowMajor(V, columns, first), this.rows, columns, count);
    });
  }

  /** `target [Tk, columns] += W^T X` for `W [rows, Tk]` of this tile and `X [rows, columns]`. */
  accumulateTransposed(target: Float64Array, W: Float64Array, X: Float64Array, columns: number): void {
    const wide = transpose(rowMajor(W, this.dims.Tk));
    multiplyAdd(rowMajor(target, columns), wide, rowMajor(X, columns), this.keys, columns, this.rows);
  }

  /** `W [rows, Tk] = X V^T` for `X [rows, columns]`, `V [Tk, columns]`; keys beyond `keys` are left alone. */
  product(W: Float64Array, X: Float64Array, V: Float64Array, columns: number): void {
    const { Tk } = this.dims;
    for (let r = 0; r < this.rows; r++) W.fill(0, r * Tk, r * Tk + this.keys);
    const wide: Matrix = rowMajor(W, Tk);
    multiplyAdd(wide, rowMajor(X, columns), transpose(rowMajor(V, columns)), this.rows, this.keys, columns);
  }

  /** Turns the products `q.k` of row `r` into softmax weights. */
  private normalize(r: number): void {
    const { weights, scale, head } = this;
    const { visible, bias } = head;
    const offset = r * this.dims.Tk;
    const bound = head.bound(this.start + r);
    let max = -Infinity;
    for (let j = 0; j < bound; j++) {
      const score = scale * weights[offset + j] + bias[j];
      weights[offset + j] = score;
      if (visible[j] !== 0 && score > max) max = score;
    }
    let sum = 0;
    for (let j = 0; j < bound; j++) {
      const p = visible[j] === 0 ? 0 : Math.exp(weights[offset + j] - max);
      weights[offset + j] = p;
      sum += p;
    }
    const inverse = sum > 0 ? 1 / sum : 0;
    for (let j = 0; j < bound; j++) weights[offset + j] *= inverse;
    weights.fill(0, offset + bound, offset + this.keys);
  }
}
