import * as tf from '@tensorflow/tfjs-core';
import { useBackend } from '../backends.js';
import { attentionKinds, makeLayer, normals, randomizeWeights } from './kinds.js';

beforeEach(() => useBackend('cpu'));

const largestDifference = (a: tf.Tensor, b: tf.Tensor | number): number => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0];

describe.each(attentionKinds)('%s', (kind) => {
  test.each([true, false])('weights times values, put out, are the output (causal: %s)', (useCausalMask) => {
    const layer = makeLayer(kind, { useCausalMask, rotary: true });
    const x = normals(1, 2, 7, 6);
    layer.apply(x);
    randomizeWeights(layer);
    const weight = (name: string): tf.Tensor => {
      const found = layer.weights.find(({ originalName }) => originalName.endsWith(name));
      if (found === undefined) throw new Error(`no weight ${name}`);
      return found.read();
    };
    const value = tf.add(tf.einsum('btd,dhv->bhtv', x, weight('value/kernel')), tf.expandDims(weight('value/bias'), 1));
    const weights = layer.attentionWeights(x);
    expect(weights.shape).toEqual([2, 2, 7, 7]);
    const attended = tf.matMul(weights, value);
    const product = tf.einsum('bhtv,hvo->bto', attended, weight('attention_output/kernel'));
    const out = tf.add(product, weight('attention_output/bias'));
    expect(largestDifference(out, layer.apply(x) as tf.Tensor)).toBeLessThan(1e-4);
    const last = layer.attentionWeights(x, { rows: 2 });
    expect(last.shape).toEqual([2, 2, 2, 7]);
    expect(largestDifference(last, tf.slice(weights, [0, 0, 5, 0], [2, 2, 2, 7]))).toBeLessThan(1e-5);
  });

  test('leaves no tensor but the weights, and names a number of rows that does not fit', () => {
    const layer = makeLayer(kind, { useCausalMask: true });
    const x = normals(1, 1, 4, 6);
    layer.apply(x);
    const before = tf.memory().numTensors;
    layer.attentionWeights(x, { rows: 1 }).dispose();
    expect(tf.memory().numTensors).toBe(before);
    expect(() => layer.attentionWeights(x, { rows: 5 })).toThrow(/rows.*from 1 to the number of tokens, 4, got 5/);
  });
});

test('those of a block are those of its attention layer on what is normalised', () => {
  const block = makeLayer('transformerBlock', { useCausalMask: true });
  const x = normals(1, 1, 5, 6);
  block.apply(x);
  const weights = block.attentionWeights(x);
  expect(weights.shape).toEqual([1, 2, 5, 5]);
  // Of local linear attention a row's weights add up to 1, and hidden keys have none.
  expect(largestDifference(tf.sum(weights, -1), 1)).toBeLessThan(1e-4);
  expect(largestDifference(tf.linalg.bandPart(weights, -1, 0), weights)).toBe(0);
  // The norm takes a token's size and mean away.
  const moved = block.attentionWeights(tf.add(tf.mul(x, 300), 2));
  const larger = block.attentionWeights(tf.mul(x, 30));
  expect(largestDifference(moved, larger)).toBeLessThan(1e-3);
});
