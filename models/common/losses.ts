/**
 * Losses whose gradients run in a few kernels. That of tfjs' `sum` and `mean` multiplies by a tensor of ones as large as
 * the input, which the host makes and uploads at every step.
 */
import * as tf from '@tensorflow/tfjs-core';
import { oneHotRows } from './one_hot.js';

/** A mean over something, and its gradient for a gradient of 1. */
interface LossAndGradient {
  readonly value: tf.Tensor;
  readonly gradient: tf.Tensor;
}

/** `loss` as a function that tfjs differentiates. */
function differentiable(loss: (x: tf.Tensor) => LossAndGradient): (x: tf.Tensor) => tf.Scalar {
  const withGradient = tf.customGrad((...given: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const [x, save] = given as [tf.Tensor, tf.GradSaveFunc];
    const { value, gradient } = loss(x);
    save([gradient]);
    return { value, gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) => tf.mul(saved, dy) };
  });
  return (x) => tf.reshape<tf.Rank.R0>(withGradient(x), []);
}

/** Mean over the rows of `logits [N, classes]` of `-ln p(answer)`, in nats; `answers [N]` are int32. */
export function crossEntropy(logits: tf.Tensor2D, answers: tf.Tensor1D): tf.Scalar {
  const [rows, classes] = logits.shape;
  return tf.tidy(() => {
    const right = oneHotRows(answers, classes);
    return differentiable((logits) => {
      const logProbabilities = tf.logSoftmax(logits);
      const value = tf.neg(tf.mean(tf.sum(tf.mul(right, logProbabilities), -1)));
      return { value, gradient: tf.div(tf.sub(tf.exp(logProbabilities), right), rows) };
    })(logits);
  });
}

/** Mean over all numbers of `(x - target)^2`. */
export function meanSquaredError(x: tf.Tensor, target: tf.Tensor): tf.Scalar {
  return tf.tidy(() =>
    differentiable((x) => {
      const difference = tf.sub(x, target);
      return { value: tf.mean(tf.square(difference)), gradient: tf.mul(difference, 2 / x.size) };
    })(x),
  );
}
