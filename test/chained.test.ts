import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import '../src/chained.js';
import {
  linearAttention,
  localLinearAttention,
  mesaAttention,
  parallaxAttention,
  softmaxAttention,
} from '../src/index.js';

const OPTIONS = { causal: true };

let query: tf.Tensor;
let key: tf.Tensor;
let value: tf.Tensor;
let probe: tf.Tensor;

beforeAll(async () => {
  await tf.setBackend('cpu');
  [query, key, value, probe] = [1, 2, 3, 4].map((seed) => tf.randomNormal([2, 6, 3], 0, 1, 'float32', seed));
});

afterAll(() => {
  tf.dispose([query, key, value, probe]);
});

test.each([
  [
    'localLinearAttention',
    () => query.localLinearAttention(key, value, OPTIONS),
    () => localLinearAttention(query, key, value, OPTIONS),
  ],
  [
    'softmaxAttention',
    () => query.softmaxAttention(key, value, OPTIONS),
    () => softmaxAttention(query, key, value, OPTIONS),
  ],
  [
    'linearAttention',
    () => query.linearAttention(key, value, OPTIONS),
    () => linearAttention(query, key, value, OPTIONS),
  ],
  [
    'parallaxAttention',
    () => query.parallaxAttention(key, value, probe, OPTIONS),
    () => parallaxAttention(query, key, value, probe, OPTIONS),
  ],
  ['mesaAttention', () => query.mesaAttention(key, value, OPTIONS), () => mesaAttention(query, key, value, OPTIONS)],
])('a tensor has %s, with its options', (_, chained, called) => {
  const [given, expected] = tf.tidy(() => [chained().dataSync(), called().dataSync()]);
  expect(given).toEqual(expected);
});

test('a chained call takes nested arrays and may leave the options out', () => {
  const average = tf.tidy(() =>
    tf
      .zeros([1, 1, 2])
      .softmaxAttention(
        [
          [
            [1, 2],
            [3, 4],
          ],
        ],
        [[[10], [20]]],
      )
      .dataSync(),
  );
  expect(average[0]).toBeCloseTo(15, 5);
});

test('a chained call has the gradient of the function', () => {
  const gradients = (attention: (x: tf.Tensor) => tf.Tensor) => tf.tidy(() => tf.grad(attention)(query).dataSync());
  expect(gradients((x) => x.localLinearAttention(key, value))).toEqual(
    gradients((x) => localLinearAttention(x, key, value)),
  );
});
