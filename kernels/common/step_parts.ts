import type { AttentionAttrs } from './spec.js';

/** Where a step stands: what the cache holds, and the tokens that ever went through it. */
export type StepAttrs = AttentionAttrs & {
  /** Tokens that the cache holds before the step. */
  length: number;
  /** Position of the first new token. */
  total: number;
  /** Tokens that a row sees at most; 0: all. */
  window: number;
};

/** Rows of a step that are handled together; key `j` of `keys` stands in row `(start + j) % capacity` of the cache. */
export interface StepPart {
  readonly t: number;
  readonly firstRow: number;
  readonly rows: number;
  /** Keys that the last of these rows sees or would see: cached ones, then new ones. */
  readonly keys: number;
  readonly start: number;
  readonly capacity: number;
}

/** The parts of a step of `t` tokens over cached keys, in order, of at most `mostRows` rows. */
export function stepParts(
  { length, total, window }: StepAttrs,
  t: number,
  capacity: number,
  mostRows: number,
): StepPart[] {
  // The rows of a wider step would overwrite keys that its first ones see.
  const isWhole = t === 1 || length + t <= capacity;
  const most = isWhole ? Math.max(1, Math.min(t, mostRows)) : 1;
  return Array.from({ length: Math.ceil(t / most) }, (_, part) => {
    const firstRow = part * most;
    const rows = Math.min(most, t - firstRow);
    const firstKey = Math.max(total - length, window > 0 ? total + firstRow - window + 1 : 0);
    return { t, firstRow, rows, keys: total + firstRow + rows - firstKey, start: firstKey % capacity, capacity };
  });
}
