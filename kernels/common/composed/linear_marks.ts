import {
  add,
  concat,
  greater,
  isFinite,
  logicalAnd,
  logicalNot,
  max,
  maximum,
  ones,
  onesLike,
  reshape,
  slice,
  type Tensor,
  type Tensor3D,
  transpose,
  where,
  zeros,
} from '@tensorflow/tfjs-core';

import { toFloat32 } from '../to_float32.js';
import { overKeys, overRows } from './linear_product.js';
import { type ComposedProblem, keepWhere, markBad, markKeys } from './problem.js';

/**
 * Which rows see a key and which see a value that is not finite, counted in linear time by the same sums over keys that
 * the operators use. With an input `count [heads]` the rows also see the keys of earlier steps, which it counts.
 */
export class LinearMarks {
  /** Bool `[heads, Tq, 1]`: rows that see a key and neither have nor see a value that is not finite. */
  private readonly ordinary: Tensor3D;
  private readonly bad: Tensor3D;

  constructor(private readonly problem: ComposedProblem) {
    const { heads, Tq, Tk } = problem.dims;
    const perKey: Tensor3D = transpose(concat([problem.visible, problem.badKey], 1), [0, 2, 1]);
    const counts = overKeys(problem, ones([heads, Tq, 1]), ones([heads, Tk, 1]), perKey);
    let [sees, seesBad]: Tensor[] = [0, 1].map((column) => slice(counts, [0, 0, column], [heads, Tq, 1]));
    const before = problem.optional('count');
    if (before) {
      // Keys of earlier steps, which every row sees: not a number where one of them was not finite.
      const count = reshape(before, [heads, 1, 1]);
      const isUsable = isFinite(count);
      sees = add(sees, where(isUsable, count, onesLike(count)));
      seesBad = add(seesBad, toFloat32(logicalNot(isUsable)));
    }
    const seesAny = greater(sees, 0);
    const bad = greater(maximum(problem.badRow, seesBad), 0);
    this.bad = logicalAnd(bad, seesAny);
    this.ordinary = logicalAnd(seesAny, logicalNot(bad));
  }

  /** `[heads, Tq, n]` with zeros in rows that are not ordinary. */
  keepOrdinary(rows: Tensor3D): Tensor3D {
    return keepWhere(this.ordinary, rows);
  }

  /** `[heads, Tq, n]` with NaN in the rows that must be NaN, zeros in those that see no key. */
  markRows(rows: Tensor3D): Tensor3D {
    return markBad(this.bad, this.keepOrdinary(rows));
  }

  /** A gradient `[heads, Tk, n]` with NaN for keys that a bad row sees, zeros for hidden ones. */
  markKeys(gradient: Tensor3D): Tensor3D {
    const { heads, Tq, Tk } = this.problem.dims;
    const seen = overRows(this.problem, ones([heads, Tq, 1]), ones([heads, Tk, 1]), toFloat32(this.bad));
    return markKeys(this.problem, gradient, seen);
  }

  /** NaN in `[heads, 1, 1]` for heads with a bad row, else 0: for what is summed over all rows of a head. */
  headMark(): Tensor3D {
    const { heads } = this.problem.dims;
    return markBad(max(toFloat32(this.bad), 1, true), zeros([heads, 1, 1]));
  }
}
