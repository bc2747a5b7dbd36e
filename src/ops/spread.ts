import { broadcastTo, customGrad, reshape, sum, type Tensor } from '@tensorflow/tfjs-core';

/**
 * Broadcasts `x`, seen as a tensor of shape `aligned`, to `target`; its gradient is summed back.
 *
 * tfjs's own gradient of `broadcastTo` is there only where all of its gradients have been registered, which an
 * application that brings just tfjs-core and a backend has not done.
 */
export function spread(x: Tensor, aligned: number[], target: number[]): Tensor {
  const missing = target.length - aligned.length;
  const axes = target.flatMap((size, axis) => (axis < missing || aligned[axis - missing] !== size ? [axis] : []));
  if (axes.length === 0 && x.rank === target.length) return x;
  return customGrad((input) => ({
    value: broadcastTo(reshape(input as Tensor, aligned), target),
    gradFunc: (dy: Tensor) => reshape(axes.length > 0 ? sum(dy, axes) : dy, x.shape),
  }))(x);
}
