/** The softmax layer with Keras' weights is Keras 3's `MultiHeadAttention` (scripts/keras_fixture). */
import * as tf from '@tensorflow/tfjs-core';
import { input as symbolicInput, model as makeModel, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import { layers, type SoftmaxAttention } from '../../src/layers/index.js';
import { backends, useBackend } from '../backends.js';
import { readFile } from '../fixtures.js';
import { relativeL2, relativeMax, type Values } from '../values.js';

interface KerasCase {
  /** Keras' own argument names. */
  readonly args: Readonly<Record<string, number | boolean | number[]>>;
  readonly causal: boolean;
  /** `query`, `value` and `key`, as far as they are inputs of their own. */
  readonly inputs: string[];
  /** Names of the weights in Keras' order. */
  readonly weights: string[];
}

const { cases, tensor } = readFile<KerasCase>('keras_attention.safetensors');
const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
const toTensor = ({ shape, data }: Values) => tf.tensor(Float32Array.from(data), [...shape]);

/** The layer of a case, not yet built. */
function layerOf({ args, causal }: KerasCase): SoftmaxAttention {
  const renamed = Object.fromEntries(Object.entries(args).map(([name, value]) => [camel(name), value]));
  return layers.softmaxAttention({ numHeads: 1, keyDim: 1, ...renamed, useCausalMask: causal });
}

const inputsOf = (name: string) => cases[name].inputs.map((input) => toTensor(tensor(`${name}.${input}`)));
const maskOf = (name: string) => (name.endsWith('mask') ? [toTensor(tensor(`${name}.mask`))] : []);

/** `run` gives the output of a built layer; all of its numbers against Keras'. */
async function compare(name: string, layer: SoftmaxAttention, run: (inputs: tf.Tensor[]) => tf.Tensor): Promise<void> {
  const { weights, inputs: inputNames } = cases[name];
  expect(layer.weights.map((weight) => weight.originalName.split('/').slice(1).join('/'))).toEqual(weights);
  layer.setWeights(weights.map((weight) => toTensor(tensor(`${name}.weight/${weight}`))));
  const inputs = inputsOf(name);
  const expected = tensor(`${name}.out`);
  const out = run(inputs);
  expect(out.shape).toEqual(expected.shape);
  expect(relativeMax(await out.data(), expected.data)).toBeLessThan(1e-5);
  const dout = toTensor(tensor(`${name}.dout`));
  const loss = (given: tf.Tensor[]) => tf.sum<tf.Scalar>(tf.mul(run(given), dout));
  const { grads } = tf.variableGrads(() => loss(inputs));
  for (const [i, weight] of weights.entries()) {
    const gradient = await grads[layer.weights[i].name].data();
    const exact = tensor(`${name}.gradient/${weight}`).data;
    // Every score of a row gets the same from the key's bias: its gradient is zero in exact arithmetic.
    if (weight === 'key/bias') expect(Math.max(...gradient.map(Math.abs))).toBeLessThan(1e-5);
    else expect([weight, relativeL2(gradient, exact) < 1e-4]).toEqual([weight, true]);
  }
  const dinputs = tf.grads((...given: tf.Tensor[]) => loss(given))(inputs);
  for (const [i, input] of inputNames.entries()) {
    const error = relativeL2(await dinputs[i].data(), tensor(`${name}.d${input}`).data);
    expect([input, error < 1e-4]).toEqual([input, true]);
  }
}

describe.each(backends)('Keras on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  test.each(Object.keys(cases))('%s, eager', async (name) => {
    const layer = layerOf(cases[name]);
    const inputs = inputsOf(name);
    layer.apply(inputs);
    const mask = maskOf(name).at(0);
    // Without an input of its own a mask is an argument; its place in the list is the value's.
    const masks = inputs.length === 1 ? [mask] : [null, mask];
    await compare(name, layer, (given) => layer.apply(given, mask === undefined ? {} : { mask: masks }) as tf.Tensor);
  });

  test.each(Object.keys(cases))('%s, in a functional model', async (name) => {
    const layer = layerOf(cases[name]);
    const masks = maskOf(name);
    const tensors = inputsOf(name);
    // The mask is the last of several inputs; self-attention becomes cross-attention with itself.
    const symbols = tensors.map(({ shape }) => symbolicInput({ shape: shape.slice(1) }));
    const maskSymbols = masks.map(({ shape }) => symbolicInput({ shape: shape.slice(1) }));
    const data = symbols.length === 1 && masks.length === 1 ? [symbols[0], symbols[0]] : symbols;
    const output = layer.apply([...data, ...maskSymbols]) as SymbolicTensor;
    const model = makeModel({ inputs: [...symbols, ...maskSymbols], outputs: output });
    expect(output.shape.slice(1)).toEqual(tensor(`${name}.out`).shape.slice(1));
    await compare(name, layer, (given) => model.apply([...given, ...masks]) as tf.Tensor);
    const predicted = model.predict([...tensors, ...masks]) as tf.Tensor;
    expect(relativeMax(await predicted.data(), tensor(`${name}.out`).data)).toBeLessThan(1e-5);
  });
});
