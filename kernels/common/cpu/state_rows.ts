import { type AttentionDims, maskRow } from '../dims.js';
import type { AttentionAttrs } from '../spec.js';
import { copyFinite } from './head.js';
import type { CpuCall, CpuProblem } from './problem.js';
import type { Workspace } from './workspace.js';

/**
 * The new tokens of a step of linear or mesa attention, one after the other, with `count`: how many visible keys came so
 * far, not a number from the first on that is not finite.
 */
export class StateRows<Attrs extends AttentionAttrs> {
  readonly dims: AttentionDims;
  readonly query: Float64Array;
  readonly key: Float64Array;
  readonly value: Float64Array;
  private readonly problem: CpuProblem;
  private readonly counts: Float32Array;
  private count = 0;

  constructor(workspace: Workspace, call: CpuCall<Attrs>) {
    this.problem = call.problem();
    this.dims = this.problem.dims;
    const { D, Dv } = this.dims;
    this.query = workspace.take(D);
    this.key = workspace.take(D);
    this.value = workspace.take(Dv);
    this.counts = call.values('count') as Float32Array;
  }

  /** Starts head `h`. */
  start(h: number): void {
    this.count = this.counts[h];
  }

  /** Loads token `i` and counts its key; whether key and value are to be added to the sums. */
  load(h: number, i: number): boolean {
    const { Tq, D, Dv } = this.dims;
    const { problem, key, value } = this;
    if (problem.keyMask?.[maskRow(this.dims, h) * Tq + i] === 0) return false;
    const isFinite =
      copyFinite(problem.key, (h * Tq + i) * D, key, 0, D) &&
      copyFinite(problem.value, (h * Tq + i) * Dv, value, 0, Dv);
    this.count += isFinite ? 1 : NaN;
    return isFinite;
  }

  /** Loads the query of token `i`, after its key; what its row comes out as. */
  loadQuery(h: number, i: number): 'ordinary' | 'blind' | 'bad' {
    const { Tq, D } = this.dims;
    const isFinite = copyFinite(this.problem.query, (h * Tq + i) * D, this.query, 0, D);
    if (this.count === 0) return 'blind';
    return isFinite && !Number.isNaN(this.count) ? 'ordinary' : 'bad';
  }

  /** Ends head `h`: its count goes into the cache. */
  finish(h: number): void {
    this.counts[h] = this.count;
  }
}

/** Rows `[a, b]` of a sum in float64, taken from the cache and put back. */
export class HeldSum {
  readonly values: Float64Array;

  constructor(
    workspace: Workspace,
    private readonly held: Float32Array,
    private readonly size: number,
  ) {
    this.values = workspace.take(size);
  }

  start(h: number): void {
    for (let n = 0; n < this.size; n++) this.values[n] = this.held[h * this.size + n];
  }

  finish(h: number): void {
    this.held.set(this.values, h * this.size);
  }
}

/** `sum [a.length, b.length] += a b^T` */
export function addOuter(sum: Float64Array, a: Float64Array, b: Float64Array): void {
  const columns = b.length;
  for (let n = 0; n < a.length; n++) {
    const factor = a[n];
    for (let m = 0, at = n * columns; m < columns; m++, at++) sum[at] += factor * b[m];
  }
}

/** `out = a^T sum` for `sum [a.length, out.length]`. */
export function applyTransposed(sum: Float64Array, a: Float64Array, out: Float64Array): void {
  const columns = out.length;
  out.fill(0);
  for (let n = 0; n < a.length; n++) {
    const factor = a[n];
    for (let m = 0, at = n * columns; m < columns; m++, at++) out[m] += factor * sum[at];
  }
}
