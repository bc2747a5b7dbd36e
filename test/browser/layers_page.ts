/** What a page under test runs: a model of every kind of layer, saved to IndexedDB and loaded again. */
import * as tf from '@tensorflow/tfjs';
import { layers } from '../../src/layers/index.js';

const URL = 'indexeddb://every-layer';

/** All numbers of a model, and what it makes of an input. */
export interface Model {
  readonly weights: number[][];
  readonly output: number[];
}

async function read(model: tf.LayersModel): Promise<Model> {
  const x = tf.tensor3d(
    Array.from({ length: 2 * 5 * 6 }, (_, index) => Math.sin(index * index)),
    [2, 5, 6],
  );
  const output = [...(await (model.predict(x) as tf.Tensor).data())];
  const weights = await Promise.all(model.getWeights().map(async (weight) => [...(await weight.data())]));
  return { weights, output };
}

Object.assign(globalThis, {
  /** Trains for a moment, so that no weight is what it was initialized to, and saves. */
  async save(): Promise<Model> {
    await tf.setBackend('cpu');
    const args = { numHeads: 2, keyDim: 4, useCausalMask: true };
    const model = tf.sequential();
    model.add(layers.localLinearAttention({ ...args, inputShape: [5, 6], trainableRidge: true, rotary: true }));
    model.add(layers.softmaxAttention(args));
    model.add(layers.linearAttention(args));
    model.add(layers.parallaxAttention(args));
    model.add(layers.mesaAttention({ ...args, trainableRidge: true }));
    model.add(layers.transformerBlock({ ...args, attention: 'localLinear', trainableRidge: true }));
    model.compile({ optimizer: 'adam', loss: 'meanSquaredError' });
    const [x, y] = [1, 2].map((seed) => tf.randomNormal([4, 5, 6], 0, 1, 'float32', seed));
    await model.fit(x, y, { epochs: 1 });
    await model.save(URL);
    return read(model);
  },

  async load(): Promise<Model> {
    await tf.setBackend('cpu');
    return read(await tf.loadLayersModel(URL));
  },
});
