import type { TensorInfo } from '@tensorflow/tfjs-core';

import { cholesky, choleskySolve, choleskyUpdate } from '../common/cpu/cholesky.js';
import { copyFinite, Head, RowState, storeKeys, storeRows } from '../common/cpu/head.js';
import { LinearProduct } from '../common/cpu/linear_product.js';
import { from, multiplyAdd, rowMajor, transpose } from '../common/cpu/matrix.js';
import { CpuCall, type CpuProblem } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { forKeyBlocks } from '../common/cpu/softmax_tile.js';
import { withWorkspace, type Workspace } from '../common/cpu/workspace.js';
import { type MesaAttentionAttrs, mesaAttentionSpec } from './spec.js';

/**
 * Solves `(K^T K + diag(ridge)) x = b` for the rows of one head in turn, where K holds the keys that the row sees. The
 * factor is carried from row to row: one new key is a rank-one update in O(D^2), many are a new factorisation.
 */
class MesaSolver {
  readonly head: Head;
  readonly product: LinearProduct;
  readonly state: Uint8Array;
  private readonly ridge: Float64Array;
  private readonly H: Float64Array;
  private readonly L: Float64Array;
  private readonly newKey: Float64Array;

  constructor(
    workspace: Workspace,
    private readonly problem: CpuProblem,
    private readonly attrs: MesaAttentionAttrs,
    /** `[heads / batch, D]`, where the ridge is a tensor. */
    private readonly ridges: ArrayLike<number> | undefined,
  ) {
    const { Tq, Tk, D } = problem.dims;
    this.head = new Head(workspace, problem, attrs.causal, false);
    this.product = new LinearProduct(workspace, Tq, Tk, (row) => this.head.bound(row));
    this.state = new Uint8Array(Tq);
    this.ridge = workspace.take(D);
    this.H = workspace.take(D * D);
    this.L = workspace.take(D * D);
    this.newKey = workspace.take(D);
  }

  /** Where the ridge of head `h` starts in the ridge tensor. */
  ridgeOffset(h: number): number {
    const { batch, heads, D } = this.problem.dims;
    return (h % (heads / batch)) * D;
  }

  /**
   * Loads head `h`: its keys, its ridge and, from each of `sources [heads, Tq, columns]`, its rows into `target`. Rows
   * that are not ordinary become zeros in all of them.
   */
  load(h: number, sources: readonly { source: ArrayLike<number>; target: Float64Array; columns: number }[]): void {
    const { Tq, D } = this.problem.dims;
    this.head.load(h);
    let ridgeUsable = true;
    for (let d = 0; d < D; d++) {
      const ridge = this.ridges === undefined ? this.attrs.ridge : this.ridges[this.ridgeOffset(h) + d];
      ridgeUsable &&= ridge > 0 && ridge < Infinity;
      this.ridge[d] = ridge;
    }
    if (!ridgeUsable) this.ridge.fill(1);
    for (let i = 0; i < Tq; i++) {
      let finite = ridgeUsable;
      for (const { source, target, columns } of sources) {
        finite = copyFinite(source, (h * Tq + i) * columns, target, i * columns, columns) && finite;
      }
      this.state[i] = this.head.rowState(i, finite);
      if (this.state[i] === RowState.ordinary) continue;
      for (const { target, columns } of sources) target.fill(0, i * columns, (i + 1) * columns);
    }
  }

  /** Overwrites the rows `b [Tq, D]` with their solutions; rows of zeros stay zeros. */
  solve(b: Float64Array): void {
    const { Tq, D } = this.problem.dims;
    const { H, L, ridge } = this;
    const smallest = ridge.reduce((least, value) => Math.min(least, value), Infinity);
    H.fill(0);
    for (let d = 0; d < D; d++) H[d * D + d] = ridge[d];
    let absorbed = 0;
    for (let i = 0; i < Tq; i++) {
      const bound = this.head.bound(i);
      // A factorisation costs D^3 / 3, an update about 3 D^2.
      if (i === 0 || bound - absorbed > D / 9) {
        this.absorb(absorbed, bound);
        L.set(H);
        cholesky(L, D, smallest);
      } else if (bound > absorbed) {
        this.absorb(absorbed, bound);
        for (let j = absorbed; j < bound; j++) {
          this.newKey.set(this.head.key.subarray(j * D, (j + 1) * D));
          choleskyUpdate(L, D, this.newKey);
        }
      }
      absorbed = bound;
      choleskySolve(L, D, b, i * D);
    }
  }

  private absorb(first: number, end: number): void {
    const { D } = this.problem.dims;
    const K = rowMajor(this.head.key, D);
    forKeyBlocks(end - first, (offset, count) => {
      const block = from(K, first + offset, 0);
      multiplyAdd(rowMajor(this.H, D), transpose(block), block, D, D, count);
    });
  }
}

/** `out [..., Tq, Dv]` and `probe [..., Tq, D]`, the solutions `x_i`: `o_i = sum_j (x_i.k_j) v_j`. */
export function mesaAttentionCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(mesaAttentionSpec, kernelCall);
  const problem = call.problem();
  const { heads, Tq, D, Dv } = problem.dims;
  const out = new Float32Array(heads * Tq * Dv);
  const probe = new Float32Array(heads * Tq * D);
  withWorkspace((workspace) => {
    const solver = new MesaSolver(workspace, problem, call.attrs, call.optionalValues('ridge'));
    const x = workspace.take(Tq * D);
    const o = workspace.take(Tq * Dv);
    for (let h = 0; h < heads; h++) {
      solver.load(h, [{ source: problem.query, target: x, columns: D }]);
      solver.solve(x);
      o.fill(0);
      const K = { data: solver.head.key, columns: D };
      solver.product.overKeys({ data: x, columns: D }, K, { data: solver.head.value, columns: Dv }, o);
      storeRows(solver.state, Tq, o, out, h * Tq * Dv, Dv);
      storeRows(solver.state, Tq, x, probe, h * Tq * D, D);
    }
  });
  return [call.output(out, call.resultShape), call.output(probe, call.tensor('query').shape.slice())];
}

/**
 * With `N_i = sum_j (g_i.v_j) k_j` and `u_i = H_i^-1 N_i`: `dq_i = u_i`, `dv_j = sum_i (x_i.k_j) g_i`,
 * `dk_j = sum_i (g_i.v_j - u_i.k_j) x_i - (x_i.k_j) u_i`, `dridge_d = -sum_i u_id x_id`.
 */
export function mesaAttentionGradCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(mesaAttentionSpec, kernelCall);
  const problem = call.problem();
  const { batch, heads, Tq, Tk, D, Dv } = problem.dims;
  const dquery = new Float32Array(heads * Tq * D);
  const dkey = new Float32Array(heads * Tk * D);
  const dvalue = new Float32Array(heads * Tk * Dv);
  const dridge = new Float64Array((heads / batch) * D);
  const [dout, probe] = [call.values('dout'), call.values('probe')];
  withWorkspace((workspace) => {
    const solver = new MesaSolver(workspace, problem, call.attrs, call.optionalValues('ridge'));
    const { head, product, state } = solver;
    const [g, x, u] = [Dv, D, D].map((columns) => workspace.take(Tq * columns));
    const dk = workspace.take(Tk * D);
    const dv = workspace.take(Tk * Dv);
    const [G, X, U] = [
      { data: g, columns: Dv },
      { data: x, columns: D },
      { data: u, columns: D },
    ];
    const [K, V] = [
      { data: head.key, columns: D },
      { data: head.value, columns: Dv },
    ];
    for (let h = 0; h < heads; h++) {
      solver.load(h, [
        { source: probe, target: x, columns: D },
        { source: dout, target: g, columns: Dv },
      ]);
      for (const sum of [u, dk, dv]) sum.fill(0);
      product.overKeys(G, V, K, u);
      solver.solve(u);
      storeRows(state, Tq, u, dquery, h * Tq * D, D);
      let badBound = 0;
      for (let i = 0; i < Tq; i++) {
        if (state[i] === RowState.bad) badBound = Math.max(badBound, head.bound(i));
        for (let d = 0; d < D; d++) {
          const part = state[i] === RowState.bad ? NaN : u[i * D + d] * x[i * D + d];
          dridge[solver.ridgeOffset(h) + d] -= part;
        }
      }
      product.overRows(X, K, G, dv);
      product.overRows(G, V, X, dk);
      // The two remaining terms have a minus sign.
      for (let i = 0; i < u.length; i++) u[i] = -u[i];
      product.overRows(U, K, X, dk);
      product.overRows(X, K, U, dk);
      storeKeys(head, badBound, dk, dkey, h, D);
      storeKeys(head, badBound, dv, dvalue, h, Dv);
    }
  });
  return call.gradients({ query: dquery, key: dkey, value: dvalue, ridge: Float32Array.from(dridge) });
}
