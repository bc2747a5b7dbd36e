/**
 * Sizes of one attention call after its leading dimensions are flattened.
 *
 * A rank-3 input `[B, T, D]` has `heads = B`; a rank-4 input `[B, H, T, D]` has `heads = B * H`.
 * Every kernel sees `query [heads, Tq, D]`, `key [heads, Tk, D]`, `value [heads, Tk, Dv]`,
 * `keyMask [batch, Tk]`, `keyBias [heads, Tk]` and a ridge per row `[heads, Tq]`.
 */
export interface AttentionDims {
  /** First dimension of the inputs: what a key mask is indexed by. */
  readonly batch: number;
  /** Product of all leading dimensions. */
  readonly heads: number;
  readonly Tq: number;
  readonly Tk: number;
  readonly D: number;
  readonly Dv: number;
}

/**
 * Number of keys before row `row`'s causal bound: the row sees keys `0 .. visibleKeys - 1`.
 *
 * Causal attention is aligned to the end, so the last row sees every key and, where there are more queries
 * than keys, the first rows see none.
 */
export function visibleKeys(dims: AttentionDims, causal: boolean, row: number): number {
  if (!causal) return dims.Tk;
  return Math.min(dims.Tk, Math.max(0, dims.Tk - dims.Tq + row + 1));
}

/** The row of `keyMask [batch, Tk]` that belongs to one of the `heads` slices. */
export function maskRow(dims: AttentionDims, head: number): number {
  return Math.floor(head / (dims.heads / dims.batch));
}
