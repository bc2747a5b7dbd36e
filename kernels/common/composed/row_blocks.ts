import { add, concat, fill, mul, pad, sum, type Tensor, type Tensor3D, tidy, transpose } from '@tensorflow/tfjs-core';

import { BLOCK_FLOATS, type ComposedProblem, markBad, markKeys, type RowBlock } from './problem.js';

/** More rows than this would only make causal blocks compute what their rows do not see. */
const MAX_ROWS = 256;

/**
 * Calls `body` for every block of query rows, so sized that `floatsPerRow` for each row stay within the budget of an
 * intermediate tensor.
 */
export function forRowBlocks(
  problem: ComposedProblem,
  floatsPerRow: number,
  body: (start: number, rows: number) => void,
): void {
  const { Tq } = problem.dims;
  const blockQ = Math.max(1, Math.min(MAX_ROWS, Math.floor(BLOCK_FLOATS / floatsPerRow)));
  for (let start = 0; start < Tq; start += blockQ) body(start, Math.min(blockQ, Tq - start));
}

/** Puts results of row blocks together: `[heads, Tq, n]` with NaN for bad rows. */
export class RowResults {
  private readonly blocks: Tensor3D[] = [];

  add(block: RowBlock, rows: Tensor3D): void {
    this.blocks.push(tidy(() => markBad(block.bad, rows)));
  }

  rows(): Tensor3D {
    return this.blocks.length === 1 ? this.blocks[0] : concat(this.blocks, 1);
  }
}

/** A sum over row blocks of something per key, `[heads, Tk, n]`. */
export class KeySum {
  private total: Tensor3D;

  constructor(
    private readonly problem: ComposedProblem,
    columns: number,
  ) {
    this.total = fill([problem.dims.heads, problem.dims.Tk, columns], 0);
  }

  /** Adds `part [heads, block.keys, n]`, which it takes over. */
  add(block: RowBlock, part: Tensor3D): void {
    const missing = this.problem.dims.Tk - block.keys;
    const previous = this.total;
    this.total = tidy(() => {
      const padded =
        missing === 0
          ? part
          : pad(part, [
              [0, 0],
              [0, missing],
              [0, 0],
            ]);
      return add(previous, padded);
    });
    previous.dispose();
    part.dispose();
  }

  /** The sum, with zeros for hidden keys and NaN for those that a bad row sees (`bad` sums `seenByBad`). */
  result(bad: KeySum): Tensor3D {
    return markKeys(this.problem, this.total, bad.total);
  }
}

/** How many bad rows of the block see each key, `[heads, keys, 1]`. */
export function seenByBad(block: RowBlock): Tensor3D {
  return tidy(() => transpose(sum<Tensor3D>(mul(block.visible, block.bad), 1, true), [0, 2, 1]));
}

/** `sum_d a_d b_d` over the last axis, kept as an axis of size 1. */
export function rowDot(a: Tensor, b: Tensor): Tensor3D {
  return sum(mul(a, b), 2, true);
}
