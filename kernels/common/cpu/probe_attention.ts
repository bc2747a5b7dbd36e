import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import { copyFinite, Head, RowState, storeKeys, storeRows } from './head.js';
import type { CpuProblem } from './problem.js';
import { BLOCK_Q, SoftmaxTile } from './softmax_tile.js';
import { dot } from './solve.js';
import type { Workspace } from './workspace.js';

/**
 * Softmax, Parallax and local linear attention are one formula, `o = sum_j p_j (1 + y_j.x) v_j`, and differ in where
 * the probe `x` comes from. This file is the formula and its gradient; the operators' `cpu.ts` bring the probe.
 */
export interface Probe {
  /**
   * Writes the probe of each ordinary row of `tile` to `probe [rows, D]`. A row whose probe cannot be had is declared
   * with `tile.requireRow(r, false)`.
   */
  find(tile: SoftmaxTile, head: number, probe: Float64Array): void;
  /**
   * Only where the probe solves `(C + ridge I) x = q - kbar`: writes the solution `u` of `(C + ridge I) u = N`, which
   * the gradient needs.
   */
  solveAdjoint?(tile: SoftmaxTile, N: Float64Array, u: Float64Array): void;
  /** The ridge of row `r` of the loaded tile, where there is one. */
  ridge?(r: number): number;
}

/** Makes the probe for the tile that it will be asked about. */
export type ProbeMaker = (workspace: Workspace, tile: SoftmaxTile) => Probe;

export interface ForwardResult {
  out: Float32Array;
  /** `[heads, Tq, D]`, empty where the operator has no probe. */
  probe: Float32Array;
}

/** Forward pass; without `makeProbe` the probe is zero. */
export function probeAttention(
  workspace: Workspace,
  problem: CpuProblem,
  attrs: SoftmaxAttentionAttrs,
  makeProbe?: ProbeMaker,
): ForwardResult {
  const { heads, Tq, Tk, D, Dv } = problem.dims;
  const head = new Head(workspace, problem, attrs.causal, true);
  const tile = new SoftmaxTile(workspace, head, problem.query, attrs.scale);
  const probe = makeProbe?.(workspace, tile);
  const out = new Float32Array(heads * Tq * Dv);
  const probes = new Float32Array(probe ? heads * Tq * D : 0);
  const x = workspace.take(BLOCK_Q * D);
  const tau = workspace.take(probe ? BLOCK_Q * Tk : 0);
  const rows = workspace.take(BLOCK_Q * Dv);

  for (let h = 0; h < heads; h++) {
    head.load(h);
    for (let start = 0; start < Tq; start += BLOCK_Q) {
      tile.load(h, start);
      if (probe) {
        findProbe(tile, h, probe, x);
        weightByTau(tile, x, tau);
      }
      rows.fill(0);
      tile.accumulate(rows, tile.weights, head.value, Dv);
      const row = h * Tq + start;
      storeRows(tile.state, tile.rows, rows, out, row * Dv, Dv);
      if (probe) storeRows(tile.state, tile.rows, x, probes, row * D, D);
    }
  }
  return { out, probe: probes };
}

/** The probe of every row, zeros where the row is not ordinary. */
function findProbe(tile: SoftmaxTile, head: number, probe: Probe, x: Float64Array): void {
  const { D } = tile.dims;
  x.fill(0);
  probe.find(tile, head, x);
  for (let r = 0; r < tile.rows; r++) {
    if (!tile.isOrdinary(r)) x.fill(0, r * D, (r + 1) * D);
  }
}

/** `tau_j = 1 + y_j.x`; multiplies the weights of the tile by it. */
function weightByTau(tile: SoftmaxTile, x: Float64Array, tau: Float64Array): void {
  const { Tk, D } = tile.dims;
  tile.product(tau, x, tile.head.key, D);
  for (let r = 0; r < tile.rows; r++) {
    const offset = 1 - dot(x, r * D, tile.kbar, r * D, D);
    for (let j = r * Tk; j < r * Tk + tile.keys; j++) tile.weights[j] *= offset + tau[j];
  }
}

export interface GradientResult {
  dquery: Float32Array;
  dkey: Float32Array;
  dvalue: Float32Array;
  /** `[heads, Tk]` */
  dkeyBias: Float32Array;
  /** Gradient of a given probe, `[heads, Tq, D]`; empty where the probe is none or a solution. */
  dprobe: Float32Array;
  /** `[heads, Tq]`; empty where the probe is no solution. */
  dridge: Float32Array;
}

/** Gradient of `probeAttention` for the cotangent `dout [heads, Tq, Dv]` (operator.md: "exact gradient", "the family"). */
export function probeAttentionGradient(
  workspace: Workspace,
  problem: CpuProblem,
  attrs: SoftmaxAttentionAttrs,
  dout: ArrayLike<number>,
  makeProbe?: ProbeMaker,
): GradientResult {
  const { heads, Tq, Tk, D, Dv } = problem.dims;
  const head = new Head(workspace, problem, attrs.causal, true);
  const tile = new SoftmaxTile(workspace, head, problem.query, attrs.scale);
  const gradient = new TileGradient(workspace, tile, makeProbe?.(workspace, tile));
  const isSolution = gradient.isSolution;
  const result: GradientResult = {
    dquery: new Float32Array(heads * Tq * D),
    dkey: new Float32Array(heads * Tk * D),
    dvalue: new Float32Array(heads * Tk * Dv),
    dkeyBias: new Float32Array(heads * Tk),
    dprobe: new Float32Array(makeProbe && !isSolution ? heads * Tq * D : 0),
    dridge: new Float32Array(isSolution ? heads * Tq : 0),
  };
  const dk = workspace.take(Tk * D);
  const dv = workspace.take(Tk * Dv);
  const db = workspace.take(Tk);

  for (let h = 0; h < heads; h++) {
    head.load(h);
    for (const sum of [dk, dv, db]) sum.fill(0);
    // Keys before this bound are seen by a row that is NaN, and so their gradients are.
    let badBound = 0;
    for (let start = 0; start < Tq; start += BLOCK_Q) {
      tile.load(h, start);
      const row = h * Tq + start;
      gradient.compute(h, dout, row * Dv);
      for (let r = 0; r < tile.rows; r++) {
        if (tile.state[r] === RowState.bad) badBound = Math.max(badBound, head.bound(start + r));
      }
      gradient.addToKeys(dk, dv, db, attrs.scale);
      gradient.finishQuery(attrs.scale);
      storeRows(tile.state, tile.rows, gradient.dq, result.dquery, row * D, D);
      if (isSolution) storeRows(tile.state, tile.rows, gradient.dridge, result.dridge, row, 1);
      else if (makeProbe) storeRows(tile.state, tile.rows, gradient.N, result.dprobe, row * D, D);
    }
    storeKeys(head, badBound, dk, result.dkey, h, D);
    storeKeys(head, badBound, dv, result.dvalue, h, Dv);
    storeKeys(head, badBound, db, result.dkeyBias, h, 1);
  }
  return result;
}

/** The gradient of one tile of query rows. Rows that are not ordinary have a zero cotangent and so add nothing. */
class TileGradient {
  /** Whether the probe solves the tile's system, in which case `u` and the ridge take part. */
  readonly isSolution: boolean;
  /** `[BLOCK_Q, D]` */
  readonly dq: Float64Array;
  /** Gradient of the probe, `[BLOCK_Q, D]`: `N = sum_j p_j Gamma_j y_j`. */
  readonly N: Float64Array;
  readonly dridge = new Float64Array(BLOCK_Q);
  private readonly g: Float64Array;
  private readonly x: Float64Array;
  private readonly u: Float64Array;
  /** Three `[BLOCK_Q, Tk]` buffers; the comments in `compute` say what they hold when. */
  private readonly gamma: Float64Array;
  private readonly tau: Float64Array;
  private readonly scratch: Float64Array;

  constructor(
    workspace: Workspace,
    private readonly tile: SoftmaxTile,
    private readonly probe: Probe | undefined,
  ) {
    const { Tk, D, Dv } = tile.dims;
    this.isSolution = probe?.solveAdjoint !== undefined;
    this.g = workspace.take(BLOCK_Q * Dv);
    [this.dq, this.N, this.x, this.u] = [0, 1, 2, 3].map(() => workspace.take(BLOCK_Q * D));
    [this.gamma, this.tau, this.scratch] = [0, 1, 2].map(() => workspace.take(BLOCK_Q * Tk));
  }

  /**
   * Turns the tile's weights into the gradient of the scores, `gamma` into `p eta` and `tau` into `p tau`; for the
   * cotangent rows that start at `dout[offset]`.
   */
  compute(head: number, dout: ArrayLike<number>, offset: number): void {
    const { tile, probe, g, x, u, N, gamma, tau, scratch } = this;
    const { Tk, D, Dv } = tile.dims;
    const { key, value } = tile.head;
    for (let r = 0; r < tile.rows; r++) {
      tile.requireRow(r, copyFinite(dout, offset + r * Dv, g, r * Dv, Dv));
    }
    if (probe) findProbe(tile, head, probe, x);
    for (let r = 0; r < tile.rows; r++) {
      if (!tile.isOrdinary(r)) g.fill(0, r * Dv, (r + 1) * Dv);
    }
    tile.product(gamma, g, value, Dv);
    for (let r = 0; r < tile.rows; r++) this.centreGamma(r);
    N.fill(0);
    // sum_j p_j (Gamma_j - Gbar) = 0, so the keys need no centring by kbar here.
    tile.accumulate(N, scratch, key, D);
    u.fill(0);
    probe?.solveAdjoint?.(tile, N, u);

    if (probe) tile.product(tau, x, key, D);
    if (this.isSolution) tile.product(scratch, u, key, D);
    for (let r = 0; r < tile.rows; r++) {
      const tauOffset = 1 - dot(x, r * D, tile.kbar, r * D, D);
      const etaOffset = dot(u, r * D, tile.kbar, r * D, D);
      const ux = dot(u, r * D, x, r * D, D);
      // What makes the scores' gradient sum to zero.
      const constant = this.isSolution ? (probe?.ridge?.(r) ?? 0) * ux : dot(N, r * D, x, r * D, D);
      this.dridge[r] = -ux;
      for (let j = r * Tk; j < r * Tk + tile.keys; j++) {
        const p = tile.weights[j];
        const t = probe ? tauOffset + tau[j] : 1;
        const eta = this.isSolution ? gamma[j] - scratch[j] + etaOffset : gamma[j];
        tau[j] = p * t;
        gamma[j] = p * eta;
        tile.weights[j] = p * (t * eta - constant);
      }
    }
  }

  /** Adds the tile's part to the gradients of all keys: `dk [Tk, D]`, `dv [Tk, Dv]`, `db [Tk]`. */
  addToKeys(dk: Float64Array, dv: Float64Array, db: Float64Array, scale: number): void {
    const { tile, g, x, u, dq } = this;
    const { Tk, D, Dv } = tile.dims;
    for (let i = 0; i < tile.rows * D; i++) dq[i] = scale * tile.query[i];
    tile.accumulateTransposed(dk, tile.weights, dq, D);
    tile.accumulateTransposed(dv, this.tau, g, Dv);
    if (this.probe) tile.accumulateTransposed(dk, this.gamma, x, D);
    if (this.isSolution) {
      for (let i = 0; i < tile.rows * D; i++) dq[i] = -u[i];
      tile.accumulateTransposed(dk, this.tau, dq, D);
    }
    for (let r = 0; r < tile.rows; r++) {
      for (let j = 0; j < tile.keys; j++) db[j] += tile.weights[r * Tk + j];
    }
  }

  /** `dq = scale sum_j de_j k_j + u`. */
  finishQuery(scale: number): void {
    const { tile, dq, u } = this;
    const { D } = tile.dims;
    dq.fill(0);
    tile.accumulate(dq, tile.weights, tile.head.key, D);
    for (let i = 0; i < tile.rows * D; i++) dq[i] = scale * dq[i] + u[i];
  }

  /** `Gamma_j -= Gbar` in row `r`, and `scratch_j = p_j Gamma_j`. */
  private centreGamma(r: number): void {
    const { tile, gamma, scratch } = this;
    const { Tk } = tile.dims;
    let mean = 0;
    for (let j = r * Tk; j < r * Tk + tile.keys; j++) mean += tile.weights[j] * gamma[j];
    for (let j = r * Tk; j < r * Tk + tile.keys; j++) {
      gamma[j] -= mean;
      scratch[j] = tile.weights[j] * gamma[j];
    }
  }
}
