/** In the full run only: tens of thousands of work groups take SwiftShader a minute. */
import * as tf from '@tensorflow/tfjs-core';
import { layers } from '../../src/layers/index.js';
import { useBackend } from '../backends.js';
import { normals } from '../layers/kinds.js';
import { relativeL2 } from '../values.js';

test('layer normalization of more rows than there are work groups in one dimension', async () => {
  await useBackend('webgpu');
  const [rows, features] = [66_000, 2];
  const layer = layers.layerNormalization({ epsilon: 1e-5 });
  const [x, dy] = [normals(1, rows, features), normals(2, rows, features)];
  const { value, grad } = tf.valueAndGrad((input: tf.Tensor) => layer.apply(input) as tf.Tensor)(x, dy);
  const direct = (input: tf.Tensor) => {
    const { mean, variance } = tf.moments(input, -1, true);
    return tf.div(tf.sub(input, mean), tf.sqrt(tf.add(variance, 1e-5)));
  };
  const expected = tf.valueAndGrad(direct)(x, dy);
  expect(relativeL2(await value.data(), await expected.value.data())).toBeLessThan(1e-5);
  // Of two features one follows from the other but for epsilon: what is left of the gradient is small, and rounding large.
  expect(relativeL2(await grad.data(), await expected.grad.data())).toBeLessThan(1e-2);
});
