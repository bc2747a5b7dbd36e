import { concat, customGrad, fill, gather, type Tensor } from '@tensorflow/tfjs-core';

/** Runs `f` as one step of a tape that is recording, which keeps nothing: what a cache holds is a constant to gradients. */
function constant(x: Tensor, f: (x: Tensor) => Tensor): Tensor {
  return customGrad((input) => ({
    value: f(input as Tensor),
    gradFunc: () => {
      throw new Error('attentionCache: what a cache holds is a constant and has no gradient');
    },
  }))(x);
}

/**
 * The entries `indices` of the first axis, with data of their own: steps write over what a cache holds, so it must share
 * nothing, as `clone`, `reshape` and, on some backends, `slice` do.
 */
export function gathered(x: Tensor, indices: readonly number[]): Tensor {
  return constant(x, (input) => gather(input, [...indices], 0));
}

/** A copy of `x` that shares no data with it. */
export function copied(x: Tensor): Tensor {
  return gathered(
    x,
    Array.from({ length: x.shape[0] }, (_, i) => i),
  );
}

/** `x [heads, capacity, ...]` with room for `count` tokens more. */
export function enlarged(x: Tensor, count: number): Tensor {
  const [heads, , ...rest] = x.shape;
  return constant(x, (input) => concat([input, fill([heads, count, ...rest], 0)], 1));
}
