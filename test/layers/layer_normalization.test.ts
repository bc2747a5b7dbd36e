/** Layer normalization against tfjs' own layer: numbers, gradients, weights, saving; and what its gradient runs. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { layers } from '../../src/layers/index.js';
import { backends, useBackend } from '../backends.js';
import { relativeL2 } from '../values.js';
import { normals, randomizeWeights } from './kinds.js';

describe.each(backends)('layerNormalization on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each([
    [[3, 7], undefined],
    [[2, 5, 8], 0.1],
    [[2, 1, 3, 6], 1e-5],
    // More rows than a chunk of the kernels that sum over rows, more features than a work group has threads.
    [[3, 30, 130], 1e-5],
  ])('is that of tfjs on %p, epsilon %p', async (shape, epsilon) => {
    const batchInputShape = shape;
    const own = tfl.sequential({ layers: [layers.layerNormalization({ batchInputShape, epsilon })] });
    const theirs = tfl.sequential({ layers: [tfl.layers.layerNormalization({ batchInputShape, epsilon })] });
    randomizeWeights(own);
    theirs.setWeights(own.getWeights());
    const [x, dout] = [normals(2, ...shape), normals(3, ...shape)];
    const all = (model: tfl.LayersModel): tf.Tensor[] => {
      const run = (input: tf.Tensor) => tf.sum<tf.Scalar>(tf.mul(model.apply(input) as tf.Tensor, dout));
      const { grads } = tf.variableGrads(() => run(x));
      const weights = model.layers[0].weights.map(({ name }) => grads[name]);
      return [model.predict(x) as tf.Tensor, tf.grad(run)(x), ...weights];
    };
    const expected = all(theirs);
    for (const [i, actual] of all(own).entries()) {
      expect(actual.shape).toEqual(expected[i].shape);
      expect(relativeL2(await actual.data(), await expected[i].data())).toBeLessThan(1e-5);
    }
  });
});

test('its gradient runs as many kernels for many tokens as for few', async () => {
  await useBackend('cpu');
  const layer = layers.layerNormalization({ inputShape: [null, 4] });
  const kernels = async (tokens: number) => {
    const x = normals(1, 1, tokens, 4);
    const gradient = tf.grad((input: tf.Tensor) => layer.apply(input) as tf.Tensor);
    gradient(x).dispose();
    return (await tf.profile(() => gradient(x))).kernels.length;
  };
  expect(await kernels(100)).toBe(await kernels(2));
});

test('it is saved and loaded, and hands a mask on', async () => {
  await useBackend('cpu');
  const model = tfl.sequential({
    layers: [
      tfl.layers.embedding({ inputDim: 5, outputDim: 4, inputLength: 3, maskZero: true }),
      layers.layerNormalization({ name: 'mine', epsilon: 0.5 }),
      layers.softmaxAttention({ numHeads: 1, keyDim: 2 }),
    ],
  });
  randomizeWeights(model);
  const ids = tf.tensor2d([[1, 0, 3]], [1, 3]);
  let saved: tf.io.ModelArtifacts = {};
  await model.save(
    tf.io.withSaveHandler((artifacts) => {
      saved = artifacts;
      return Promise.resolve({ modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts) });
    }),
  );
  const again = await tfl.loadLayersModel(tf.io.fromMemory(saved));
  const predict = async (of: tfl.LayersModel, input: tf.Tensor) => (of.predict(input) as tf.Tensor).data();
  expect(await predict(again, ids)).toEqual(await predict(model, ids));
  // The hidden token's row may hold anything.
  model.layers[0].setWeights([
    tf.tensor2d(
      Array.from({ length: 20 }, (_, i) => (i < 4 ? 100 * i : i % 3)),
      [5, 4],
    ),
  ]);
  const before = await predict(model, ids);
  model.layers[0].setWeights([
    tf.tensor2d(
      Array.from({ length: 20 }, (_, i) => (i < 4 ? -i : i % 3)),
      [5, 4],
    ),
  ]);
  const after = await predict(model, ids);
  expect([...after.subarray(0, 4), ...after.subarray(8)]).toEqual([...before.subarray(0, 4), ...before.subarray(8)]);
});

test('it refuses what it cannot use', () => {
  expect(() => layers.layerNormalization({ epsilon: 0 })).toThrow('layerNormalization: epsilon');
  const unknown = { axis: 1 } as Parameters<typeof layers.layerNormalization>[0];
  expect(() => layers.layerNormalization(unknown)).toThrow('layerNormalization: axis is no argument');
  expect(() => tfl.sequential({ layers: [layers.layerNormalization({ inputShape: [3, null] })] })).toThrow(
    'must have a known number of features',
  );
});
