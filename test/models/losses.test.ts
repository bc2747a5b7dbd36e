/** Losses of the models against the same ones made of tfjs' operations, with their gradients. */
import * as tf from '@tensorflow/tfjs-core';
import { crossEntropy, meanSquaredError } from '../../models/common/losses.js';
import { backends, useBackend } from '../backends.js';
import { normals } from '../layers/kinds.js';
import { relativeL2 } from '../values.js';

describe.each(backends)('losses on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  async function compare(actual: (x: tf.Tensor) => tf.Scalar, expected: (x: tf.Tensor) => tf.Scalar, x: tf.Tensor) {
    const [own, theirs] = [actual, expected].map((loss) => tf.valueAndGrad((x) => tf.mul(loss(x), 3))(x));
    expect(relativeL2(await own.value.data(), await theirs.value.data())).toBeLessThan(1e-6);
    expect(relativeL2(await own.grad.data(), await theirs.grad.data())).toBeLessThan(1e-5);
  }

  test('cross-entropy', async () => {
    const answers = tf.tensor1d([0, 6, 2, 2], 'int32');
    const direct = (x: tf.Tensor) => {
      const right = tf.sum(tf.mul(x, tf.oneHot(answers, 7)), -1);
      return tf.mean<tf.Scalar>(tf.sub(tf.logSumExp(x, -1), right));
    };
    await compare((x) => crossEntropy(x as tf.Tensor2D, answers), direct, tf.mul(normals(1, 4, 7), 4));
  });

  test('mean squared error', async () => {
    const target = normals(2, 3, 5, 2);
    await compare(
      (x) => meanSquaredError(x, target),
      (x) => tf.mean(tf.squaredDifference(x, target)),
      normals(1, 3, 5, 2),
    );
  });
});
