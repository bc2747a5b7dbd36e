import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';

import { type AttentionDims, maskRow } from '../dims.js';
import type { AttentionAttrs, OperatorSpec } from '../spec.js';
import { copyFinite } from './head.js';
import { CpuCall } from './problem.js';
import { withWorkspace, type Workspace } from './workspace.js';

/** Attributes of a step's kernel besides the operator's own; see `CachePlace`. */
export type StepAttrs = AttentionAttrs & {
  scale: number;
  length: number;
  total: number;
  window: number;
};

/** A bias from here down hides its key: half precision and devices without infinities write the lowest float32. */
const HIDES = -3.4e38;
const HIDDEN = -3.4028234663852886e38;

/** Rows of keys and values that lie side by side: those of one head in the cache, or among the new ones. */
interface Range {
  readonly keys: ArrayLike<number>;
  readonly values: ArrayLike<number>;
  /** First row in them. */
  readonly first: number;
  readonly count: number;
}

/** A weight of this is no weight: the key is hidden. */
const NOT_SEEN = -1;

/**
 * One row of a step: its softmax weights over what it sees, read where it stands, in the cache and among the new keys.
 *
 * A key that is not finite makes its score so, a value that is not finite the result: both mark the row without a pass of
 * their own.
 */
export class StepRow<Attrs extends StepAttrs> {
  readonly dims: AttentionDims;
  /** Keys that the row may see, hidden ones among them. */
  seen = 0;
  /** `p_j`, `NOT_SEEN` for a hidden key; in the order of the ranges. */
  readonly weights: Float64Array;
  readonly query: Float64Array;
  readonly out: Float64Array;
  private readonly taus: Float64Array;
  private readonly ranges: Range[] = [];
  private readonly capacity: number;
  private readonly arrays: Record<'query' | 'key' | 'value' | 'cachedKey' | 'cachedValue', ArrayLike<number>>;
  private readonly cachedBias: ArrayLike<number> | undefined;
  private readonly newBias: Float64Array;

  constructor(
    workspace: Workspace,
    private readonly call: CpuCall<Attrs>,
  ) {
    const problem = call.problem();
    this.dims = problem.dims;
    const { heads, Tk, D, Dv } = problem.dims;
    [, this.capacity] = call.tensor('cachedKey').shape;
    const { query, key, value } = problem;
    this.arrays = { query, key, value, cachedKey: call.values('cachedKey'), cachedValue: call.values('cachedValue') };
    this.cachedBias = call.optionalValues('cachedBias');
    const most = call.attrs.length + Tk;
    this.weights = workspace.take(most);
    this.taus = workspace.take(most);
    this.query = workspace.take(D);
    this.out = workspace.take(Dv);
    this.newBias = workspace.take(heads * Tk);
    for (let h = 0; h < heads; h++) {
      for (let j = 0; j < Tk; j++) {
        const bias = problem.keyBias?.[h * Tk + j] ?? 0;
        const isHidden = problem.keyMask?.[maskRow(problem.dims, h) * Tk + j] === 0 || bias <= HIDES;
        this.newBias[h * Tk + j] = isHidden ? HIDDEN : bias;
      }
    }
  }

  /**
   * Loads row `i` of head `h`; `'blind'` where it sees no key, `'bad'` where it or a key that it sees is not finite, so
   * that there are no weights.
   */
  load(h: number, i: number): 'ordinary' | 'blind' | 'bad' {
    const { D, Tq } = this.dims;
    const { weights, query } = this;
    this.findRanges(h, i);
    const isFinite = copyFinite(this.arrays.query, (h * Tq + i) * D, query, 0, D);
    this.products(query, weights);
    let max = -Infinity;
    let sees = false;
    for (let j = 0; j < this.seen; j++) {
      const bias = this.bias(j);
      if (bias <= HIDES) {
        weights[j] = -Infinity;
        continue;
      }
      sees = true;
      weights[j] = this.call.attrs.scale * weights[j] + bias;
      if (!(weights[j] > -Infinity)) max = NaN;
      else if (weights[j] > max) max = weights[j];
    }
    if (!sees) return 'blind';
    if (!isFinite || !Number.isFinite(max)) return 'bad';
    let sum = 0;
    for (let j = 0; j < this.seen; j++) {
      const isHidden = weights[j] === -Infinity;
      weights[j] = isHidden ? NOT_SEEN : Math.exp(weights[j] - max);
      if (!isHidden) sum += weights[j];
    }
    for (let j = 0; j < this.seen; j++) if (weights[j] !== NOT_SEEN) weights[j] /= sum;
    return 'ordinary';
  }

  /** `target_j = k_j.x` for every key of the ranges. */
  products(x: Float64Array, target: Float64Array): void {
    const { D } = this.dims;
    let j = 0;
    for (const { keys, first, count } of this.ranges) {
      for (let row = first; row < first + count; row++, j++) {
        let sum = 0;
        for (let d = 0, at = row * D; d < D; d++, at++) sum += keys[at] * x[d];
        target[j] = sum;
      }
    }
  }

  /** `target += sum_j w_j k_j` over the keys that the row sees. */
  addKeys(w: Float64Array, target: Float64Array): void {
    const { D } = this.dims;
    let j = 0;
    for (const { keys, first, count } of this.ranges) {
      for (let row = first; row < first + count; row++, j++) {
        if (this.weights[j] === NOT_SEEN) continue;
        const weight = w[j];
        for (let d = 0, at = row * D; d < D; d++, at++) target[d] += weight * keys[at];
      }
    }
  }

  /** `target_j = |k_j - kbar|^2` for every key that the row sees. */
  squaredDistances(kbar: Float64Array, target: Float64Array): void {
    const { D } = this.dims;
    let j = 0;
    for (const { keys, first, count } of this.ranges) {
      for (let row = first; row < first + count; row++, j++) {
        let sum = 0;
        for (let d = 0, at = row * D; d < D; d++, at++) sum += (keys[at] - kbar[d]) ** 2;
        target[j] = sum;
      }
    }
  }

  /** `C += sum_j p_j y_j y_j^T`, lower triangle, for `y_j = k_j - kbar`; `y [D]` is scratch. */
  addCovariance(kbar: Float64Array, C: Float64Array, y: Float64Array): void {
    const { D } = this.dims;
    let j = 0;
    for (const { keys, first, count } of this.ranges) {
      for (let row = first; row < first + count; row++, j++) {
        const weight = this.weights[j];
        if (weight === NOT_SEEN) continue;
        for (let d = 0; d < D; d++) y[d] = keys[row * D + d] - kbar[d];
        for (let a = 0; a < D; a++) {
          const wy = weight * y[a];
          for (let c = 0, at = a * D; c <= a; c++, at++) C[at] += wy * y[c];
        }
      }
    }
  }

  /**
   * `out = sum_j p_j tau_j v_j` with `tau_j = 1 + (k_j - kbar).x`, or 1 where there is no `x`; whether it is finite.
   * `kbar.x` is the weighted mean of the products: see the composed kernels' `centredProducts`.
   */
  combine(x?: Float64Array): boolean {
    const { weights, taus, out } = this;
    const { Dv } = this.dims;
    if (x) this.products(x, taus);
    const mean = x ? this.weightedMean(taus) : 0;
    out.fill(0);
    let j = 0;
    for (const { values, first, count } of this.ranges) {
      for (let row = first; row < first + count; row++, j++) {
        if (weights[j] === NOT_SEEN) continue;
        const weight = x ? weights[j] * (1 + taus[j] - mean) : weights[j];
        for (let d = 0, at = row * Dv; d < Dv; d++, at++) out[d] += weight * values[at];
      }
    }
    return out.every((o) => Number.isFinite(o));
  }

  /** `sum_j p_j a_j` */
  weightedMean(a: Float64Array): number {
    let sum = 0;
    for (let j = 0; j < this.seen; j++) if (this.weights[j] !== NOT_SEEN) sum += this.weights[j] * a[j];
    return sum;
  }

  /** Whether key `j` of the ranges is not hidden. */
  sees(j: number): boolean {
    return this.weights[j] !== NOT_SEEN;
  }

  /** Writes the new rows into the cache: O(t), and only those that will still be in it. */
  append(): void {
    const { heads, Tk, D, Dv } = this.dims;
    const { key, value, cachedKey, cachedValue } = this.arrays;
    const { total } = this.call.attrs;
    for (let h = 0; h < heads; h++) {
      for (let i = Math.max(0, Tk - this.capacity); i < Tk; i++) {
        const row = h * this.capacity + ((total + i) % this.capacity);
        copyRow(key, (h * Tk + i) * D, cachedKey, row * D, D);
        copyRow(value, (h * Tk + i) * Dv, cachedValue, row * Dv, Dv);
        if (this.cachedBias) copyRow(this.newBias, h * Tk + i, this.cachedBias, row, 1);
      }
    }
  }

  private findRanges(h: number, i: number): void {
    const { Tk } = this.dims;
    const { length, total, window } = this.call.attrs;
    const { capacity } = this;
    const { key, value, cachedKey, cachedValue } = this.arrays;
    const lowest = Math.max(total - length, window > 0 ? total + i - window + 1 : 0);
    const cached = Math.max(0, total - lowest);
    const start = lowest % capacity;
    const straight = Math.min(cached, capacity - start);
    const firstNew = Math.max(0, lowest - total);
    this.seen = cached + i + 1 - firstNew;
    this.ranges.length = 0;
    for (const [first, count] of [
      [start, straight],
      [0, cached - straight],
    ]) {
      this.ranges.push({ keys: cachedKey, values: cachedValue, first: h * capacity + first, count });
    }
    this.ranges.push({ keys: key, values: value, first: h * Tk + firstNew, count: i + 1 - firstNew });
  }

  /** The bias of key `j` of the ranges. */
  private bias(j: number): number {
    const [older, wrapped, { first: firstNew }] = this.ranges;
    if (j >= older.count + wrapped.count) return this.newBias[firstNew + j - older.count - wrapped.count];
    if (!this.cachedBias) return 0;
    return this.cachedBias[j < older.count ? older.first + j : wrapped.first + j - older.count];
  }
}

/** Copies numbers into an array that the backend holds. */
function copyRow(source: ArrayLike<number>, from: number, target: ArrayLike<number>, to: number, count: number): void {
  const values = target as Float32Array;
  for (let d = 0; d < count; d++) values[to + d] = source[from + d];
}

/** Finds the probe of a loaded row; undefined where the row has none that is finite. */
export type StepProbe<Attrs extends StepAttrs> = (
  row: StepRow<Attrs>,
  h: number,
  i: number,
) => Float64Array | undefined;

/**
 * A step of an operator whose weights are a softmax of scores: the result of every new row, then the new rows into the
 * cache.
 */
export function attendAndAppend<Attrs extends StepAttrs>(
  workspace: Workspace,
  call: CpuCall<Attrs>,
  makeProbe?: (workspace: Workspace, row: StepRow<Attrs>) => StepProbe<Attrs>,
): TensorInfo[] {
  const row = new StepRow(workspace, call);
  const probe = makeProbe?.(workspace, row);
  const { heads, Tq, Dv } = row.dims;
  const out = new Float32Array(heads * Tq * Dv);
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < Tq; i++) {
      const at = (h * Tq + i) * Dv;
      const state = row.load(h, i);
      if (state === 'blind') continue;
      const x = state === 'ordinary' ? probe?.(row, h, i) : undefined;
      const isGood = state === 'ordinary' && (!probe || x !== undefined) && row.combine(x);
      if (isGood) out.set(row.out, at);
      else out.fill(NaN, at, at + Dv);
    }
  }
  const result = call.output(out, call.resultShape);
  row.append();
  return [result];
}

/** The kernel that only appends. */
export function appendKeysCpu<Attrs extends AttentionAttrs>(spec: OperatorSpec<Attrs>): KernelFunc {
  return (kernelCall) => {
    const call = new CpuCall(spec as OperatorSpec as OperatorSpec<StepAttrs>, kernelCall);
    return withWorkspace((workspace) => {
      new StepRow(workspace, call).append();
      return [];
    });
  };
}
