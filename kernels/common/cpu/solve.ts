import type { SolverAttrs } from '../../local_linear_attention/spec.js';
import { SMALL_RIDGE } from '../../local_linear_attention/spec.js';
import { cholesky, choleskySolve } from './cholesky.js';
import { from, multiplyAdd, rowMajor, transpose } from './matrix.js';
import { BLOCK_K, BLOCK_Q, forKeyBlocks, type SoftmaxTile } from './softmax_tile.js';
import type { Workspace } from './workspace.js';

/** Below this head dimension the direct solver is cheaper than any useful number of iterations (measured). */
export const DIRECT_BELOW_D = 24;

/** What the solvers have done: rows iterated, their iterations in sum and at most, rows solved directly. */
export interface SolverCounts {
  rows: number;
  iterations: number;
  most: number;
  direct: number;
}

let counts: SolverCounts = { rows: 0, iterations: 0, most: 0, direct: 0 };

/** The counts since the last call, which starts new ones: for benchmarks. */
export function solverCounts(): SolverCounts {
  const counted = counts;
  counts = { rows: 0, iterations: 0, most: 0, direct: 0 };
  return counted;
}

/**
 * Solves `(C + ridge I) x = b` for the rows of a tile, where `C = sum_j p_j y_j y_j^T` is the covariance of the keys
 * under the row's weights and `y_j = k_j - kbar`.
 */
export class TileSolver {
  private readonly missed = new Uint8Array(BLOCK_Q);
  /** Row of the tile that each slot of the packed state belongs to. */
  private readonly rowOf = new Int32Array(BLOCK_Q);
  private readonly squaredResidual = new Float64Array(BLOCK_Q);
  private readonly squaredTarget = new Float64Array(BLOCK_Q);
  private readonly x: Float64Array;
  private readonly residual: Float64Array;
  private readonly direction: Float64Array;
  /** `(C + ridge I) direction` */
  private readonly image: Float64Array;
  private readonly block: Float64Array;
  private readonly covariance: Float64Array;
  private readonly weightedKeys: Float64Array;
  constructor(
    workspace: Workspace,
    private readonly tile: SoftmaxTile,
    /** Ridge of each row of the tile. */
    private readonly ridge: Float64Array,
    private readonly attrs: SolverAttrs,
  ) {
    const { D } = tile.dims;
    this.x = workspace.take(BLOCK_Q * D);
    this.residual = workspace.take(BLOCK_Q * D);
    this.direction = workspace.take(BLOCK_Q * D);
    this.image = workspace.take(BLOCK_Q * D);
    this.block = workspace.take(BLOCK_Q * BLOCK_K);
    this.covariance = workspace.take(D * D);
    this.weightedKeys = workspace.take(D * BLOCK_K);
  }

  /** `solution [rows, D]` for the right-hand sides `b [rows, D]`; a row whose `b` is zero gets zero. */
  solve(b: Float64Array, solution: Float64Array): void {
    const { solver, maxIterations } = this.attrs;
    const { D } = this.tile.dims;
    if (solver === 'direct' || (solver === 'auto' && D < DIRECT_BELOW_D)) {
      this.missed.fill(1);
    } else if (solver === 'conjugateGradient') {
      this.conjugateGradient(b, solution, maxIterations);
      return;
    } else {
      this.conjugateGradient(b, solution, Math.min(maxIterations, breakEven(D, this.tile.keys)));
      this.requireDirectForSmallRidges();
    }
    for (let r = 0; r < this.tile.rows; r++) {
      if (this.missed[r] !== 0) this.direct(r, b, solution);
    }
  }

  /**
   * A residual of `tolerance` means an error of up to `tolerance` times the condition number. Where the ridge is too small
   * for that to be harmless, `auto` takes what the direct solver gives.
   */
  private requireDirectForSmallRidges(): void {
    for (let r = 0; r < this.tile.rows; r++) {
      if (this.ridge[r] < SMALL_RIDGE * this.tile.head.variance) this.missed[r] = 1;
    }
  }

  /** Iterates all rows at once; sets `missed` for the rows that did not reach their tolerance. */
  private conjugateGradient(b: Float64Array, solution: Float64Array, maxIterations: number): void {
    const { x, residual, direction, rowOf, squaredResidual, squaredTarget, missed, tile } = this;
    const { D } = tile.dims;
    let active = 0;
    solution.fill(0, 0, tile.rows * D);
    missed.fill(0);
    for (let r = 0; r < tile.rows; r++) {
      const rr = dot(b, r * D, b, r * D, D);
      if (rr === 0) continue;
      rowOf[active] = r;
      squaredResidual[active] = rr;
      squaredTarget[active] = this.attrs.tolerance * this.attrs.tolerance * rr;
      for (let d = 0; d < D; d++) {
        x[active * D + d] = 0;
        residual[active * D + d] = b[r * D + d];
        direction[active * D + d] = b[r * D + d];
      }
      active++;
    }
    counts.rows += active;
    for (let iteration = 0; active > 0; iteration++) {
      if (iteration === maxIterations) {
        for (let slot = 0; slot < active; slot++) this.retire(slot, solution, true);
        return;
      }
      counts.iterations += active;
      counts.most = Math.max(counts.most, iteration + 1);
      this.applyCovariance(active);
      // Downwards, so that the slot that fills a gap has already taken its step.
      for (let slot = active - 1; slot >= 0; slot--) {
        const outcome = this.step(slot);
        if (outcome === 'running') continue;
        this.retire(slot, solution, outcome === 'broken');
        this.moveSlot(--active, slot);
      }
    }
  }

  private step(slot: number): 'running' | 'converged' | 'broken' {
    const { x, residual, direction, image, squaredResidual } = this;
    const { D } = this.tile.dims;
    const at = slot * D;
    const curvature = dot(direction, at, image, at, D);
    if (!(curvature > 0)) return 'broken';
    const rr = squaredResidual[slot];
    const alpha = rr / curvature;
    let rrNext = 0;
    for (let d = at; d < at + D; d++) {
      x[d] += alpha * direction[d];
      const r = residual[d] - alpha * image[d];
      residual[d] = r;
      rrNext += r * r;
    }
    if (rrNext <= this.squaredTarget[slot]) return 'converged';
    const beta = rrNext / rr;
    for (let d = at; d < at + D; d++) direction[d] = residual[d] + beta * direction[d];
    squaredResidual[slot] = rrNext;
    return 'running';
  }

  private retire(slot: number, solution: Float64Array, missed: boolean): void {
    const { D } = this.tile.dims;
    const row = this.rowOf[slot];
    for (let d = 0; d < D; d++) solution[row * D + d] = this.x[slot * D + d];
    this.missed[row] = missed ? 1 : 0;
  }

  private moveSlot(source: number, target: number): void {
    if (source === target) return;
    const { D } = this.tile.dims;
    for (const state of [this.x, this.residual, this.direction]) {
      state.copyWithin(target * D, source * D, (source + 1) * D);
    }
    this.rowOf[target] = this.rowOf[source];
    this.squaredResidual[target] = this.squaredResidual[source];
    this.squaredTarget[target] = this.squaredTarget[source];
  }

  /** `image = (C + ridge I) direction` for the first `active` slots; C is applied, never formed. */
  private applyCovariance(active: number): void {
    const { direction, image, block, rowOf, tile } = this;
    const { D, Tk } = tile.dims;
    const U = rowMajor(direction, D);
    const W = rowMajor(block, BLOCK_K);
    const sums = new Float64Array(active);
    const shifts = sums.map((_, slot) => dot(direction, slot * D, tile.kbar, rowOf[slot] * D, D));
    image.fill(0, 0, active * D);
    forKeyBlocks(tile.keys, (first, count) => {
      block.fill(0, 0, active * BLOCK_K);
      const K = rowMajor(tile.head.key, D, first);
      multiplyAdd(W, U, transpose(K), active, count, D);
      for (let slot = 0; slot < active; slot++) {
        const weights = rowOf[slot] * Tk + first;
        const shift = shifts[slot];
        let sum = 0;
        for (let j = 0; j < count; j++) {
          const weight = tile.weights[weights + j] * (block[slot * BLOCK_K + j] - shift);
          block[slot * BLOCK_K + j] = weight;
          sum += weight;
        }
        sums[slot] += sum;
      }
      multiplyAdd(rowMajor(image, D), W, K, active, D, count);
    });
    for (let slot = 0; slot < active; slot++) {
      const kbar = rowOf[slot] * D;
      const ridge = this.ridge[rowOf[slot]];
      for (let d = 0; d < D; d++) {
        image[slot * D + d] += ridge * direction[slot * D + d] - sums[slot] * tile.kbar[kbar + d];
      }
    }
  }

  /** Forms and factors the system of row `r`. */
  private direct(r: number, b: Float64Array, solution: Float64Array): void {
    const { D } = this.tile.dims;
    for (let d = r * D; d < (r + 1) * D; d++) solution[d] = b[d];
    if (dot(b, r * D, b, r * D, D) === 0) return;
    counts.direct++;
    this.formCovariance(r);
    // Every pivot is at least the smallest eigenvalue, which is at least the ridge.
    cholesky(this.covariance, D, this.ridge[r]);
    choleskySolve(this.covariance, D, solution, r * D);
  }

  /** The lower triangle of `C + ridge I` of row `r`, in panels of rows so that the upper one costs little. */
  private formCovariance(r: number): void {
    const { covariance, weightedKeys, tile } = this;
    const { D, Tk } = tile.dims;
    const { kbar, weights } = tile;
    const panel = 16;
    const C = rowMajor(covariance, D);
    const Z = rowMajor(weightedKeys, BLOCK_K);
    for (let a = 0; a < D; a++) {
      for (let c = 0; c <= a; c++) covariance[a * D + c] = -kbar[r * D + a] * kbar[r * D + c];
      covariance[a * D + a] += this.ridge[r];
    }
    forKeyBlocks(tile.keys, (first, count) => {
      for (let d = 0; d < D; d++) {
        for (let j = 0; j < count; j++) {
          weightedKeys[d * BLOCK_K + j] = weights[r * Tk + first + j] * tile.head.key[(first + j) * D + d];
        }
      }
      const K = rowMajor(tile.head.key, D, first);
      for (let a = 0; a < D; a += panel) {
        const rows = Math.min(panel, D - a);
        multiplyAdd(from(C, a, 0), from(Z, a, 0), K, rows, a + rows, count);
      }
    });
  }
}

/**
 * Iterations that cost as much as the direct solution: a row that takes more is better off with the latter, and has
 * then cost at most twice the cheaper of both.
 */
export function breakEven(D: number, keys: number): number {
  return Math.ceil(D / 4 + (D * D) / (12 * Math.max(1, keys)));
}

export function dot(a: Float64Array, aOffset: number, b: Float64Array, bOffset: number, count: number): number {
  let sum = 0;
  for (let d = 0; d < count; d++) sum += a[aOffset + d] * b[bOffset + d];
  return sum;
}
