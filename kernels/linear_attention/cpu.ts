import type { TensorInfo } from '@tensorflow/tfjs-core';

import { copyFinite, Head, RowState, storeKeys, storeRows } from '../common/cpu/head.js';
import { LinearProduct } from '../common/cpu/linear_product.js';
import { CpuCall, type CpuProblem } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { withWorkspace, type Workspace } from '../common/cpu/workspace.js';
import { featureMapDerivative, featureMapValue } from './feature_map.js';
import { type LinearAttentionAttrs, linearAttentionSpec } from './spec.js';

/** One head of linear attention: features, and the normalised output in float64. */
class LinearHead {
  readonly head: Head;
  readonly product: LinearProduct;
  readonly state: Uint8Array;
  /** `[Tq, D]`, raw; zeros in rows that are not ordinary. */
  readonly query: Float64Array;
  /** `phi(q) [Tq, D]`, `phi(k) [Tk, D]`; zeros for rows that are not ordinary and keys that are hidden. */
  readonly queryFeatures: Float64Array;
  readonly keyFeatures: Float64Array;
  /** `[v_j, 1]`, so that the last column of a sum over keys is the normaliser. `[Tk, Dv + 1]` */
  readonly extendedValue: Float64Array;
  /** `[sum_j a_ij v_j, sum_j a_ij]`, without `scale`; `[Tq, Dv + 1]`. */
  readonly sums: Float64Array;

  constructor(
    private readonly workspace: Workspace,
    private readonly problem: CpuProblem,
    private readonly attrs: LinearAttentionAttrs,
  ) {
    const { Tq, Tk, D, Dv } = problem.dims;
    this.head = new Head(workspace, problem, attrs.causal, false);
    this.product = new LinearProduct(workspace, Tq, Tk, (row) => this.head.bound(row));
    this.state = new Uint8Array(Tq);
    this.query = workspace.take(Tq * D);
    this.queryFeatures = workspace.take(Tq * D);
    this.keyFeatures = workspace.take(Tk * D);
    this.extendedValue = workspace.take(Tk * (Dv + 1));
    this.sums = workspace.take(Tq * (Dv + 1));
  }

  /** Loads head `h`; `cotangent [Tq, Dv]` of the gradient makes rows bad where it is not finite. */
  load(h: number, cotangent?: Float64Array, dout?: ArrayLike<number>): void {
    const { Tq, Tk, D, Dv } = this.problem.dims;
    const { head, query, queryFeatures, keyFeatures, extendedValue, sums } = this;
    const phi = featureMapValue(this.attrs.featureMap);
    head.load(h);
    for (let i = 0; i < Tq; i++) {
      let finite = copyFinite(this.problem.query, (h * Tq + i) * D, query, i * D, D);
      if (cotangent && dout) {
        finite = copyFinite(dout, (h * Tq + i) * Dv, cotangent, i * Dv, Dv) && finite;
      }
      this.state[i] = head.rowState(i, finite);
      if (this.state[i] !== RowState.ordinary) {
        query.fill(0, i * D, (i + 1) * D);
        queryFeatures.fill(0, i * D, (i + 1) * D);
        cotangent?.fill(0, i * Dv, (i + 1) * Dv);
      } else {
        for (let d = i * D; d < (i + 1) * D; d++) queryFeatures[d] = phi(query[d]);
      }
    }
    for (let j = 0; j < Tk; j++) {
      const visible = head.visible[j];
      for (let d = j * D; d < (j + 1) * D; d++) keyFeatures[d] = visible * phi(head.key[d]);
      for (let d = 0; d < Dv; d++) extendedValue[j * (Dv + 1) + d] = head.value[j * Dv + d];
      extendedValue[j * (Dv + 1) + Dv] = visible;
    }
    sums.fill(0);
    this.product.overKeys(
      { data: queryFeatures, columns: D },
      { data: keyFeatures, columns: D },
      { data: extendedValue, columns: Dv + 1 },
      sums,
    );
  }

  /** What the sums of row `i` are multiplied by: `scale`, or one over the normaliser, 0 where that is 0. */
  factor(i: number): number {
    if (!this.attrs.normalize) return this.attrs.scale;
    const { Dv } = this.problem.dims;
    const normalizer = this.sums[i * (Dv + 1) + Dv];
    return normalizer === 0 ? 0 : 1 / normalizer;
  }

  /** `o [Tq, Dv]` */
  output(out: Float64Array): void {
    const { Tq, Dv } = this.problem.dims;
    for (let i = 0; i < Tq; i++) {
      const factor = this.factor(i);
      for (let d = 0; d < Dv; d++) out[i * Dv + d] = this.sums[i * (Dv + 1) + d] * factor;
    }
  }

  take(length: number): Float64Array {
    return this.workspace.take(length);
  }
}

/** `out [..., Tq, Dv]` */
export function linearAttentionCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(linearAttentionSpec, kernelCall);
  const problem = call.problem();
  const { heads, Tq, Dv } = problem.dims;
  const out = new Float32Array(heads * Tq * Dv);
  withWorkspace((workspace) => {
    const linear = new LinearHead(workspace, problem, call.attrs);
    const rows = workspace.take(Tq * Dv);
    for (let h = 0; h < heads; h++) {
      linear.load(h);
      linear.output(rows);
      storeRows(linear.state, Tq, rows, out, h * Tq * Dv, Dv);
    }
  });
  return [call.output(out, call.resultShape)];
}

/**
 * With `da_ij = f_i (g_i.v_j - [normalised] g_i.o_i)`, `f_i` the row's factor: `dphi(q)_i = sum_j da_ij phi(k_j)`,
 * `dphi(k)_j = sum_i da_ij phi(q_i)`, `dv_j = sum_i f_i (phi(q_i).phi(k_j)) g_i`.
 */
export function linearAttentionGradCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(linearAttentionSpec, kernelCall);
  const problem = call.problem();
  const attrs = call.attrs;
  const { heads, Tq, Tk, D, Dv } = problem.dims;
  const dquery = new Float32Array(heads * Tq * D);
  const dkey = new Float32Array(heads * Tk * D);
  const dvalue = new Float32Array(heads * Tk * Dv);
  const dphi = featureMapDerivative(attrs.featureMap);
  const dout = call.values('dout');
  withWorkspace((workspace) => {
    const linear = new LinearHead(workspace, problem, attrs);
    const { head, product, queryFeatures, keyFeatures, extendedValue } = linear;
    const g = workspace.take(Tq * Dv);
    const o = workspace.take(Tq * Dv);
    // [f_i g_i, -f_i g_i.o_i], whose product with [v_j, 1] is da_ij.
    const extendedCotangent = workspace.take(Tq * (Dv + 1));
    const dq = workspace.take(Tq * D);
    const dk = workspace.take(Tk * D);
    const dv = workspace.take(Tk * Dv);
    for (let h = 0; h < heads; h++) {
      linear.load(h, g, dout);
      linear.output(o);
      let badBound = 0;
      for (let i = 0; i < Tq; i++) {
        if (linear.state[i] === RowState.bad) badBound = Math.max(badBound, head.bound(i));
        const factor = linear.factor(i);
        let go = 0;
        for (let d = 0; d < Dv; d++) {
          go += g[i * Dv + d] * o[i * Dv + d];
          extendedCotangent[i * (Dv + 1) + d] = factor * g[i * Dv + d];
        }
        extendedCotangent[i * (Dv + 1) + Dv] = attrs.normalize ? -factor * go : 0;
      }
      for (const sum of [dq, dk, dv]) sum.fill(0);
      const da = { data: extendedCotangent, columns: Dv + 1 };
      const v1 = { data: extendedValue, columns: Dv + 1 };
      const phiQ = { data: queryFeatures, columns: D };
      const phiK = { data: keyFeatures, columns: D };
      product.overKeys(da, v1, phiK, dq);
      product.overRows(da, v1, phiQ, dk);
      for (let i = 0; i < Tq; i++) {
        const factor = linear.factor(i);
        for (let d = i * Dv; d < (i + 1) * Dv; d++) g[d] *= factor;
      }
      product.overRows(phiQ, phiK, { data: g, columns: Dv }, dv);
      for (let d = 0; d < Tq * D; d++) dq[d] *= dphi(linear.query[d]);
      for (let d = 0; d < Tk * D; d++) dk[d] *= dphi(head.key[d]);
      storeRows(linear.state, Tq, dq, dquery, h * Tq * D, D);
      storeKeys(head, badBound, dk, dkey, h, D);
      storeKeys(head, badBound, dv, dvalue, h, Dv);
    }
  });
  return call.gradients({ query: dquery, key: dkey, value: dvalue });
}
