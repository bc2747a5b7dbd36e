import { type AttentionDims, maskRow, visibleKeys } from '../dims.js';
import type { CpuProblem } from './problem.js';
import type { Workspace } from './workspace.js';

/** What a row comes out as. */
export const RowState = {
  ordinary: 0,
  /** Sees no key: zeros, and no gradient. */
  blind: 1,
  /** Has or sees a value that is not finite: NaN. */
  bad: 2,
} as const;

/**
 * One head's keys and values in float64, made safe to multiply by zero.
 *
 * The products run over whole tiles, in which a key that a row does not see has weight 0; since 0 * NaN is NaN, a key
 * that is hidden or not finite is stored as zeros, and the rows that do see a non-finite one are marked NaN at the end
 * (`rowState`). So a NaN stays in the rows that see it.
 */
export class Head {
  /** Keys minus `centre`, `[Tk, D]`. */
  readonly key: Float64Array;
  /** `[Tk, Dv]` */
  readonly value: Float64Array;
  /** One vector that is subtracted from every key: takes out rounding errors, changes nothing else. `[D]` */
  readonly centre: Float64Array;
  /** 1 where a key is visible, 0 where mask or bias hide it. `[Tk]` */
  readonly visible: Uint8Array;
  /** Added to the scores; zeros where the operator has none. `[Tk]` */
  readonly bias: Float64Array;
  /** Mean over channels of the variance of the visible keys; only where they are centred. */
  variance = 0;
  private firstBadKey: number;
  private firstVisibleKey: number;

  /** `centred` is for the operators that are invariant under a shift of the keys. */
  constructor(
    workspace: Workspace,
    private readonly problem: CpuProblem,
    private readonly causal: boolean,
    private readonly centred: boolean,
  ) {
    const { Tk, D, Dv } = problem.dims;
    this.key = workspace.take(Tk * D);
    this.value = workspace.take(Tk * Dv);
    this.centre = workspace.take(D);
    this.bias = workspace.take(Tk);
    this.visible = new Uint8Array(Tk);
    this.firstBadKey = Tk;
    this.firstVisibleKey = Tk;
  }

  get dims(): AttentionDims {
    return this.problem.dims;
  }

  /** Loads the keys and values of head `head`; buffers are reused from head to head. */
  load(head: number): this {
    const { Tk, D, Dv } = this.dims;
    const { keyMask, keyBias } = this.problem;
    const maskOffset = maskRow(this.dims, head) * Tk;
    this.firstBadKey = Tk;
    this.key.fill(0);
    this.value.fill(0);
    for (let j = 0; j < Tk; j++) {
      const bias = keyBias === undefined ? 0 : keyBias[head * Tk + j];
      const visible = keyMask?.[maskOffset + j] !== 0 && bias !== -Infinity;
      this.visible[j] = visible ? 1 : 0;
      this.bias[j] = 0;
      if (!visible) continue;
      const finite =
        Number.isFinite(bias) &&
        copyFinite(this.problem.key, (head * Tk + j) * D, this.key, j * D, D) &&
        copyFinite(this.problem.value, (head * Tk + j) * Dv, this.value, j * Dv, Dv);
      if (finite) {
        this.bias[j] = bias;
      } else {
        this.key.fill(0, j * D, (j + 1) * D);
        this.value.fill(0, j * Dv, (j + 1) * Dv);
        this.firstBadKey = Math.min(this.firstBadKey, j);
      }
    }
    const first = this.visible.indexOf(1);
    this.firstVisibleKey = first < 0 ? Tk : first;
    if (this.centred) this.subtractCentre();
    return this;
  }

  /** Number of keys before the causal bound of row `row`. */
  bound(row: number): number {
    return visibleKeys(this.dims, this.causal, row);
  }

  /** What row `row` comes out as, given whether its own query is finite. */
  rowState(row: number, finite: boolean): number {
    const bound = this.bound(row);
    if (this.firstVisibleKey >= bound) return RowState.blind;
    return finite && this.firstBadKey >= bound ? RowState.ordinary : RowState.bad;
  }

  private subtractCentre(): void {
    const { Tk, D } = this.dims;
    const { key, centre, visible } = this;
    let count = 0;
    centre.fill(0);
    this.variance = 0;
    for (let j = 0; j < Tk; j++) {
      if (visible[j] === 0) continue;
      count++;
      for (let d = 0; d < D; d++) centre[d] += key[j * D + d];
    }
    if (count === 0) return;
    for (let d = 0; d < D; d++) centre[d] /= count;
    for (let j = 0; j < Tk; j++) {
      if (visible[j] === 0) continue;
      for (let d = 0; d < D; d++) {
        const y = key[j * D + d] - centre[d];
        key[j * D + d] = y;
        this.variance += (y * y) / (count * D);
      }
    }
  }
}

/** Copies `count` numbers; returns whether all of them are finite. */
export function copyFinite(
  source: ArrayLike<number>,
  sourceOffset: number,
  target: Float64Array,
  targetOffset: number,
  count: number,
): boolean {
  let finite = true;
  for (let d = 0; d < count; d++) {
    const x = source[sourceOffset + d];
    target[targetOffset + d] = x;
    finite &&= Number.isFinite(x);
  }
  return finite;
}

/**
 * Writes one key's gradients for all keys of head `h` as float32: zeros for hidden keys, NaN for those before `badBound`,
 * which a row that is NaN sees.
 */
export function storeKeys(
  head: Head,
  badBound: number,
  rows: Float64Array,
  target: Float32Array,
  h: number,
  width: number,
): void {
  const { Tk } = head.dims;
  for (let j = 0; j < Tk; j++) {
    const at = (h * Tk + j) * width;
    if (head.visible[j] === 0) continue;
    if (j < badBound) target.fill(NaN, at, at + width);
    else for (let d = 0; d < width; d++) target[at + d] = rows[j * width + d];
  }
}

/** Writes `count` query rows as float32: zeros for blind rows, NaN for bad ones. */
export function storeRows(
  state: Uint8Array,
  count: number,
  rows: Float64Array,
  target: Float32Array,
  offset: number,
  width: number,
): void {
  for (let r = 0; r < count; r++) {
    const at = offset + r * width;
    if (state[r] === RowState.bad) target.fill(NaN, at, at + width);
    else if (state[r] === RowState.ordinary) for (let d = 0; d < width; d++) target[at + d] = rows[r * width + d];
  }
}
