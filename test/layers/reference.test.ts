/** Every kind of layer, rotary embedding and block against a plain float64 reference, outputs and gradients. */
import * as tf from '@tensorflow/tfjs-core';
import type { layers as tfLayers } from '@tensorflow/tfjs-layers';
import { layers } from '../../src/layers/index.js';
import { backends, useBackend } from '../backends.js';
import { Random } from '../random.js';
import { toTensor } from '../run_call.js';
import { relativeL2, sizeOf, type Values } from '../values.js';
import { attentionKinds, randomizeWeights, type AttentionKind } from './kinds.js';
import { attention, block, rotated, type PlainArgs, type Weights } from './reference.js';

const shortKinds = {
  localLinearAttention: 'localLinear',
  softmaxAttention: 'softmax',
  linearAttention: 'linear',
  parallaxAttention: 'parallax',
  mesaAttention: 'mesa',
} as const;

/** The weights of a layer by their names without the layer's. */
async function weightsOf(layer: tfLayers.Layer): Promise<Weights> {
  const entries = layer.weights.map(async (weight) => {
    const tensor = weight.read();
    const name = weight.originalName.split('/').slice(1).join('/');
    return [name, { shape: tensor.shape, data: Float64Array.from(await tensor.data()) }] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** `sum(out * dout)` for a reference, and its gradient in one weight by central differences. */
function differences(
  run: (weights: Weights) => Values,
  weights: Weights,
  name: string,
  dout: ArrayLike<number>,
): number[] {
  const loss = (data: Float64Array) => {
    const { data: out } = run({ ...weights, [name]: { ...weights[name], data } });
    return Array.from(out).reduce((total, x, i) => total + x * dout[i], 0);
  };
  const { data } = weights[name];
  const step = 1e-4;
  return Array.from(data, (x, i) => {
    const moved = (to: number) => Float64Array.from(data, (old, j) => (i === j ? to : old));
    return (loss(moved(x + step)) - loss(moved(x - step))) / (2 * step);
  });
}

/** Holds a built layer with random weights to a reference: its output and the gradient of every weight. */
async function hold(layer: tfLayers.Layer, inputs: tf.Tensor[], run: (weights: Weights) => Values): Promise<void> {
  randomizeWeights(layer, 5);
  const weights = await weightsOf(layer);
  const expected = run(weights);
  const forward = () => layer.apply(inputs) as tf.Tensor;
  const out = forward();
  expect(out.shape).toEqual(expected.shape);
  expect(relativeL2(await out.data(), expected.data)).toBeLessThan(1e-5);
  const dout = new Random(9).normals(out.shape);
  const { grads } = tf.variableGrads(() => tf.sum<tf.Scalar>(tf.mul(forward(), toTensor(dout))));
  const names = Object.keys(weights);
  for (const [i, name] of names.entries()) {
    const exact = differences(run, weights, name, dout.data);
    const actual = await grads[layer.weights[i].name].data();
    expect(actual).toHaveLength(sizeOf(weights[name].shape));
    // The gradient of softmax attention's key bias is zero in exact arithmetic.
    const size = Math.hypot(...exact) < 1e-6 ? Math.max(...actual.map(Math.abs)) : relativeL2(actual, exact);
    expect([name, size < 2e-4]).toEqual([name, true]);
  }
}

const values = (seed: number, ...shape: number[]): Values => new Random(seed).normals(shape);
const MASK: Values = { shape: [2, 5], data: [1, 0, 1, 1, 1, 1, 1, 0, 1, 0] };

/** Arguments of a layer as those of the reference. */
const cases: [string, PlainArgs][] = [
  ['plain', { numHeads: 2, keyDim: 4, valueDim: 3 }],
  ['causal, rotary', { numHeads: 2, keyDim: 4, useCausalMask: true, rotary: { base: 10000, fraction: 1 } }],
  ['rotary of half the channels', { numHeads: 1, keyDim: 8, rotary: { base: 100, fraction: 0.5 } }],
];

describe.each(backends)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));
  beforeEach(() => tf.engine().startScope());
  afterEach(() => tf.engine().endScope());

  describe.each(attentionKinds)('%s', (kind: AttentionKind) => {
    const ridge = kind === 'localLinearAttention' || kind === 'mesaAttention';

    test.each(cases)('%s', async (_, args) => {
      const x = values(1, 2, 5, 6);
      const layer = layers[kind](args);
      layer.apply(toTensor(x));
      await hold(layer, [toTensor(x)], (weights) => attention(kind, args, weights, [x]));
    });

    test.each([
      [3, 5],
      [5, 3],
      [4, 4],
    ])('useCausalMask with %d queries and %d values: row i is a call on values 0 .. i', async (Tq, Tv) => {
      const [query, value] = [toTensor(values(1, 2, Tq, 6)), toTensor(values(2, 2, Tv, 6))];
      const layer = layers[kind]({ numHeads: 2, keyDim: 4, useCausalMask: true });
      const plain = layers[kind]({ numHeads: 2, keyDim: 4 });
      for (const built of [layer, plain]) {
        built.apply([query, value]);
        randomizeWeights(built);
      }
      const rows = Array.from({ length: Tq }, (_, i) => {
        const seen = tf.slice(value, [0, 0, 0], [2, Math.min(i + 1, Tv), 6]);
        return plain.apply([tf.slice(query, [0, i, 0], [2, 1, 6]), seen]) as tf.Tensor;
      });
      const out = await (layer.apply([query, value]) as tf.Tensor).data();
      expect(relativeL2(out, await tf.concat(rows, 1).data())).toBeLessThan(1e-5);
    });

    test('cross-attention with a mask and a key of its own, rotary', async () => {
      const inputs = [values(1, 2, 3, 6), values(2, 2, 5, 4), values(3, 2, 5, 7)];
      const args = {
        numHeads: 2,
        keyDim: 4,
        valueDim: 3,
        rotary: { base: 10000, fraction: 1 },
        ...(ridge && { ridge: 0.5 }),
      };
      const tensors = [...inputs.map((input) => toTensor(input)), toTensor(MASK)];
      const layer = layers[kind](args);
      layer.apply(tensors);
      await hold(layer, tensors, (weights) => attention(kind, args, weights, inputs, MASK));
    });

    test('transformerBlock', async () => {
      const x = values(1, 2, 5, 4);
      const args = { numHeads: 2, keyDim: 4, useCausalMask: true, rotary: { base: 10000, fraction: 1 } };
      const layer = layers.transformerBlock({ attention: shortKinds[kind], mlpRatio: 2, ...args });
      layer.apply(toTensor(x));
      const run = (weights: Weights) => block(kind, { ...args, epsilon: 1e-3 }, weights, x, MASK);
      await hold(layer, [toTensor(x), toTensor(MASK)], run);
    });

    if (ridge) {
      test('trainableRidge', async () => {
        const x = values(1, 2, 5, 6);
        const args = { numHeads: 2, keyDim: 4, ridge: 0.3, trainableRidge: true };
        const layer = layers[kind](args);
        layer.apply(toTensor(x));
        // It starts at the argument's value, per head.
        const raw = Array.from(await layer.getWeights()[8].data());
        raw.forEach((weight) => expect(Math.log1p(Math.exp(weight))).toBeCloseTo(0.3, 6));
        await hold(layer, [toTensor(x)], (weights) => attention(kind, args, weights, [x]));
      });
    }
  });
});

describe('rotary', () => {
  const args = { base: 10000, fraction: 1 };

  test('scores depend on differences of positions only', () => {
    const [q, k] = [Array.from(values(1, 8).data), Array.from(values(2, 8).data)];
    const score = (i: number, j: number) =>
      rotated(q, i, args).reduce((total, x, c) => total + x * rotated(k, j, args)[c], 0);
    expect(score(7, 3)).toBeCloseTo(score(104, 100), 10);
  });

  test('true is { base: 10000, fraction: 1 }', async () => {
    await useBackend('cpu');
    const x = toTensor(values(3, 1, 4, 6));
    const outputs = [true, args, {}].map((rotary) => {
      const layer = layers.softmaxAttention({ numHeads: 2, keyDim: 4, rotary });
      layer.apply(x);
      randomizeWeights(layer);
      return Array.from((layer.apply(x) as tf.Tensor).dataSync());
    });
    expect(outputs[1]).toEqual(outputs[0]);
    expect(outputs[2]).toEqual(outputs[0]);
  });
});
