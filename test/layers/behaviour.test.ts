/** What tfjs's own layers do, these do too: configurations, regularizers, constraints, freezing, summaries, memory. */
import * as tf from '@tensorflow/tfjs-core';
import {
  constraints,
  initializers,
  input,
  layers as tfLayers,
  type LayersModel,
  loadLayersModel,
  model as makeModel,
  type ModelFitArgs,
  regularizers,
  type Sequential,
  sequential,
  type SymbolicTensor,
} from '@tensorflow/tfjs-layers';
import { layers } from '../../src/layers/index.js';
import { backends, useBackend } from '../backends.js';
import { relativeL2 } from '../values.js';
import { type CommonArgs, type Kind, kinds, makeLayer, normals, randomizeWeights } from './kinds.js';

const apply = (layer: tfLayers.Layer, x: tf.Tensor, options?: object) => layer.apply(x, { ...options }) as tf.Tensor;

/** A model of one layer. */
function modelOf(kind: Kind, args: Partial<CommonArgs> = {}): Sequential {
  return sequential({ layers: [makeLayer(kind, { inputShape: [5, 6], ...args })] });
}

const QUIET: ModelFitArgs = { batchSize: 4 };

/** Trains a model for a number of steps, one batch each. */
async function fit(model: LayersModel, epochs: number): Promise<void> {
  const [x, y] = [normals(1, 4, 5, 6), normals(2, 4, 5, 6)];
  await model.fit(x, y, { epochs, ...QUIET });
  tf.dispose([x, y]);
}

/** Saves to memory and loads again. */
async function reload(model: LayersModel): Promise<LayersModel> {
  let saved: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler((artifacts) => {
      saved = artifacts;
      return Promise.resolve({ modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } });
    }),
  );
  // Through text, as every handler of files does.
  const topology = JSON.parse(JSON.stringify(saved?.modelTopology)) as object;
  return loadLayersModel(tf.io.fromMemory({ ...saved, modelTopology: topology }));
}

beforeAll(() => useBackend('cpu'));

describe.each(kinds)('%s', (kind) => {
  test('getConfig and fromConfig', () => {
    const layer = makeLayer(kind, {
      valueDim: 3,
      dropout: 0.25,
      seed: 7,
      useBias: false,
      useCausalMask: true,
      rotary: { base: 100, fraction: 0.5 },
      kernelInitializer: initializers.randomNormal({ stddev: 0.1 }),
      kernelRegularizer: regularizers.l2({ l2: 0.01 }),
      kernelConstraint: constraints.maxNorm({ maxValue: 3 }),
      name: `${kind}_configured`,
      trainable: false,
    });
    const config = layer.getConfig();
    expect(config).toMatchObject({ numHeads: 2, keyDim: 4, valueDim: 3, dropout: 0.25, seed: 7, useBias: false });
    expect(config).toMatchObject({ rotary: { base: 100, fraction: 0.5 }, trainable: false, useCausalMask: true });
    const cls = layer.constructor as tf.serialization.SerializableConstructor<typeof layer>;
    // As tfjs loads it: from text, with its custom objects put in.
    const loaded = JSON.parse(JSON.stringify(config)) as tf.serialization.ConfigDict;
    const again = cls.fromConfig(cls, { ...loaded, customObjects: {} });
    expect(again.getConfig()).toEqual(config);
    expect(again).toBeInstanceOf(layer.constructor);
  });

  test('defaults are those of Keras', () => {
    const { name, batchInputShape, ...config } = makeLayer(kind).getConfig();
    expect(name).toMatch(/_layer_/);
    expect(batchInputShape).toBeUndefined();
    expect(config).toMatchObject({
      trainable: true,
      dropout: 0,
      useBias: true,
      useCausalMask: false,
      valueDim: 4,
      kernelInitializer: { className: 'VarianceScaling', config: { mode: 'fanAvg', distribution: 'uniform' } },
      biasInitializer: { className: 'Zeros' },
      kernelRegularizer: null,
      biasConstraint: null,
    });
  });

  test('a saved model has a configuration in snake case, and loads to the same one', async () => {
    const model = modelOf(kind, { rotary: true, kernelRegularizer: 'l1l2', kernelInitializer: 'heNormal' });
    const json = model.toJSON(undefined, false) as { config: { layers: { class_name: string; config: object }[] } };
    const [{ class_name: className, config }] = json.config.layers;
    expect(className).toMatch(/^[A-Z][A-Za-z]+Layer$/);
    expect(config).toMatchObject({ num_heads: 2, key_dim: 4, use_causal_mask: false });
    const again = await reload(model);
    expect(again.layers[0].getConfig()).toEqual(model.layers[0].getConfig());
    const x = normals(3, 2, 5, 6);
    expect((again.predict(x) as tf.Tensor).dataSync()).toEqual((model.predict(x) as tf.Tensor).dataSync());
    expect(again.layers[0].weights.map((w) => w.originalName)).toEqual(
      model.layers[0].weights.map((w) => w.originalName),
    );
  });

  test('summary and countParams', () => {
    const model = modelOf(kind);
    const lines: string[] = [];
    model.summary(undefined, undefined, (line: string) => lines.push(line));
    const { weights } = model;
    const size = weights.reduce((total, { shape }) => total + tf.util.sizeFromShape(shape as number[]), 0);
    expect(model.countParams()).toBe(size);
    expect(lines.join('\n')).toContain(`Total params: ${size}`);
    expect(lines.join('\n')).toMatch(/\[null,5,6\]/);
  });

  test('trainable = false keeps every weight, before and after', async () => {
    for (const frozen of [true, false]) {
      const model = modelOf(kind, frozen ? { trainable: false } : {});
      const [layer] = model.layers;
      layer.trainable = false;
      model.add(tfLayers.dense({ units: 6 }));
      model.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
      const before = model.getWeights().map((weight) => Array.from(weight.dataSync()));
      expect(layer.trainableWeights).toEqual([]);
      await fit(model, 2);
      const after = model.getWeights().map((weight) => Array.from(weight.dataSync()));
      const own = layer.weights.length;
      // Trainable weights come first: those of the dense layer.
      expect(after.slice(-own)).toEqual(before.slice(-own));
      expect(after.slice(0, -own)).not.toEqual(before.slice(0, -own));
      layer.trainable = true;
      expect(layer.trainableWeights).toHaveLength(own);
    }
  });

  test('regularizers add to the loss', async () => {
    const l2 = 0.5;
    const regularizer = regularizers.l2({ l2 });
    const model = modelOf(kind, { kernelRegularizer: regularizer, biasRegularizer: regularizer });
    randomizeWeights(model);
    const penalties = model.layers[0].calculateLosses().map((loss) => loss.dataSync()[0]);
    const regularized = model.layers[0].weights.filter(({ name }) => !/(gamma|beta|ridge)/.test(name));
    const squares = regularized.map((weight) => l2 * tf.sum(tf.square(weight.read())).dataSync()[0]);
    expect(penalties).toHaveLength(squares.length);
    const total = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);
    expect(total(penalties)).toBeCloseTo(total(squares), 3);
    model.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
    const [x, y] = [normals(1, 4, 5, 6), normals(2, 4, 5, 6)];
    const error = tf.mean(tf.square(tf.sub(model.predict(x) as tf.Tensor, y))).dataSync()[0];
    // The loss of the first step; `evaluate` of tfjs leaves penalties out.
    const { history } = await model.fit(x, y, QUIET);
    expect(Number(history.loss[0])).toBeCloseTo(error + total(squares), 3);
  });

  test('constraints hold after every step, and leave loaded weights alone', async () => {
    const model = modelOf(kind, {
      kernelConstraint: 'nonNeg',
      biasConstraint: constraints.maxNorm({ maxValue: 0.1, axis: 0 }),
    });
    model.compile({ optimizer: 'adam', loss: 'meanSquaredError' });
    randomizeWeights(model);
    const constrained = model.weights.filter(({ originalName }) => originalName.endsWith('kernel'));
    const least = () => Math.min(...constrained.map((weight) => tf.min(weight.read()).dataSync()[0]));
    // As in Keras, weights that are set are taken as they are.
    expect(least()).toBeLessThan(-0.1);
    await fit(model, 1);
    expect(least()).toBe(0);
    const biases = model.weights.filter(({ originalName }) => originalName.endsWith('bias'));
    for (const bias of biases) {
      const norms = tf.norm(bias.read(), 2, 0).dataSync();
      norms.forEach((norm) => expect(norm).toBeLessThan(0.1 + 1e-6));
    }
    const again = await reload(model);
    again.weights.forEach((weight, i) => expect(weight.read().dataSync()).toEqual(model.weights[i].read().dataSync()));
    const { numTensors } = tf.memory();
    await fit(model, 1);
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test('dropout drops in training only, and repeatably with a seed', () => {
    const make = (seed?: number) => makeLayer(kind, { dropout: 0.5, ...(seed !== undefined && { seed }) });
    const x = normals(4, 2, 5, 6);
    const [layer, twin] = [make(3), make(3)];
    apply(layer, x);
    apply(twin, x);
    randomizeWeights(layer);
    randomizeWeights(twin);
    const run = (of: tfLayers.Layer, training?: boolean) => Array.from(apply(of, x, { training }).dataSync());
    const still = run(layer);
    expect(run(layer, false)).toEqual(still);
    const [first, second] = [run(layer, true), run(layer, true)];
    expect(first).not.toEqual(still);
    expect(second).not.toEqual(first);
    expect([run(twin, true), run(twin, true)]).toEqual([first, second]);
    expect(run(layer)).toEqual(still);
    // What is dropped averages out, where it goes through a linear map.
    if (kind === 'transformerBlock') return;
    const free = make();
    apply(free, x);
    randomizeWeights(free);
    const mean = tf.tidy(() =>
      tf.mean(tf.stack(Array.from({ length: 400 }, () => apply(free, x, { training: true }))), 0),
    );
    expect(relativeL2(mean.dataSync(), still)).toBeLessThan(0.15);
  });

  test('nothing is leaked by calls, training and disposal', async () => {
    const before = tf.memory().numTensors;
    const layer = makeLayer(kind, { rotary: true, useCausalMask: true, kernelConstraint: 'nonNeg' });
    const x = normals(1, 2, 5, 6);
    apply(layer, x).dispose();
    const built = tf.memory().numTensors;
    expect(built).toBe(before + 1 + layer.weights.length);
    const mask = tf.tensor2d([[1, 1, 0, 1, 0], [1, 0, 0, 1, 1]]); // prettier-ignore
    apply(layer, x, { mask }).dispose();
    expect(tf.memory().numTensors).toBe(built + 1);
    const wrong = tf.ones([2, 4]);
    expect(() => apply(layer, x, { mask: [wrong] })).toThrow('mask');
    tf.dispose([x, mask, wrong]);
    layer.dispose();
    expect(tf.memory().numTensors).toBe(before);
    const model = sequential({ layers: [tfLayers.masking({ inputShape: [5, 6] }), makeLayer(kind, { dropout: 0.5 })] });
    model.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
    await fit(model, 1);
    const trained = tf.memory().numTensors;
    await fit(model, 2);
    const data = normals(1, 4, 5, 6);
    (model.predict(data) as tf.Tensor).dispose();
    data.dispose();
    expect(tf.memory().numTensors).toBe(trained);
    model.dispose();
    model.optimizer.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('inside a model inside a model', async () => {
    const inner = modelOf(kind);
    const x = input({ shape: [5, 6] });
    const outer = makeModel({ inputs: x, outputs: inner.apply(x) as SymbolicTensor });
    expect(outer.trainableWeights.map(({ id }) => id)).toEqual(inner.weights.map(({ id }) => id));
    outer.compile({ optimizer: 'sgd', loss: 'meanSquaredError' });
    await fit(outer, 1);
    const again = await reload(outer);
    const data = normals(3, 2, 5, 6);
    expect((again.predict(data) as tf.Tensor).dataSync()).toEqual((outer.predict(data) as tf.Tensor).dataSync());
  });

  test('from one backend to another', async () => {
    const layer = makeLayer(kind, { rotary: true });
    const x = normals(1, 2, 5, 6);
    const here = Array.from(apply(layer, x).dataSync());
    for (const backend of backends) {
      await useBackend(backend);
      const there = await apply(layer, x).data();
      here.forEach((number, i) => expect(there[i]).toBeCloseTo(number, 4));
    }
    await useBackend('cpu');
    expect(Array.from(apply(layer, x).dataSync())).toEqual(here);
  });

  test('integers become float32', () => {
    const layer = makeLayer(kind);
    const x = tf.cast(tf.mul(normals(1, 1, 5, 6), 3), 'int32');
    expect(apply(layer, x).dataSync()).toEqual(apply(layer, tf.cast(x, 'float32')).dataSync());
  });
});

test.each([
  layers.localLinearAttention({
    numHeads: 2,
    keyDim: 4,
    inputShape: [5, 6],
    ridge: 0.5,
    trainableRidge: true,
    solver: 'conjugateGradient',
    tolerance: 1e-4,
    maxIterations: 5,
    precision: 'fast',
  }),
  layers.linearAttention({ numHeads: 2, keyDim: 4, inputShape: [5, 6], featureMap: 'elu+1', normalize: false }),
  layers.mesaAttention({ numHeads: 2, keyDim: 4, inputShape: [5, 6], ridge: 3, outputShape: [2, 3] }),
  layers.transformerBlock({
    attention: 'localLinear',
    numHeads: 2,
    keyDim: 4,
    inputShape: [5, 6],
    ridge: 2,
    mlpRatio: 1.5,
  }),
])("an operator's own arguments are saved and loaded: layer %#", async (layer) => {
  const model = sequential({ layers: [layer] });
  const again = await reload(model);
  expect(again.layers[0].getConfig()).toEqual(layer.getConfig());
  const x = normals(3, 2, 5, 6);
  expect((again.predict(x) as tf.Tensor).dataSync()).toEqual((model.predict(x) as tf.Tensor).dataSync());
});

test('kernels begin like the matrices that they are, as in Keras', () => {
  const layer = layers.softmaxAttention({ numHeads: 8, keyDim: 16, outputShape: 32 });
  apply(layer, tf.zeros([1, 2, 64]));
  const limit = (fanIn: number, fanOut: number) => Math.sqrt(6 / (fanIn + fanOut));
  const largest = (i: number) => tf.max(tf.abs(layer.getWeights()[i])).dataSync()[0];
  for (const [i, bound] of [
    [0, limit(64, 128)],
    [6, limit(128, 32)],
  ]) {
    // prettier-ignore
    expect(largest(i)).toBeLessThanOrEqual(bound + 1e-6);
    expect(largest(i)).toBeGreaterThan(0.97 * bound);
  }
});

test('the weights argument sets them', () => {
  const first = layers.softmaxAttention({ numHeads: 1, keyDim: 2 });
  const x = normals(1, 1, 3, 4);
  apply(first, x);
  const second = layers.softmaxAttention({ numHeads: 1, keyDim: 2, weights: first.getWeights() });
  expect(apply(second, x).dataSync()).toEqual(apply(first, x).dataSync());
});

test('a ridge that is trained stays positive', async () => {
  const layer = layers.localLinearAttention({
    numHeads: 2,
    keyDim: 4,
    ridge: 0.02,
    trainableRidge: true,
    inputShape: [5, 6],
  });
  const model = sequential({ layers: [layer] });
  model.compile({ optimizer: 'adam', loss: 'meanSquaredError' });
  const raw = () => Array.from(layer.weights[8].read().dataSync());
  const [before] = raw();
  await fit(model, 20);
  expect(raw()[0]).not.toBe(before);
  raw().forEach((weight) => expect(Math.log1p(Math.exp(weight))).toBeGreaterThan(0));
});
