/** The parts of models and trainer, each against a plain calculation. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { recallBatch } from '../../models/associative_recall/data.js';
import { TokenEmbedding } from '../../models/common/token_embedding.js';
import { composition, permutations, trackingBatch } from '../../models/state_tracking/data.js';
import { segmentedStreams } from '../../models/test_time_regression/data.js';
import { Adam, rateAt } from '../../models/trainer/adam.js';
import { Random } from '../../models/trainer/random.js';
import { useBackend } from '../backends.js';
import { relativeMax } from '../values.js';

beforeAll(async () => {
  // Else the cpu backend advises to install another package.
  tf.enableProdMode();
  await useBackend('cpu');
});

test('random numbers follow from their names and have the moments of their distribution', () => {
  expect(new Random('a', 1).normals(5)).toEqual(new Random('a', 1).normals(5));
  expect(new Random('a', 1).normals(5)).not.toEqual(new Random('a', 2).normals(5));
  const values = new Random('moments').normals(20_000);
  const moment = (power: number) => values.reduce((sum, value) => sum + value ** power, 0) / values.length;
  expect(Math.abs(moment(1))).toBeLessThan(0.03);
  expect(moment(2)).toBeCloseTo(1, 1);
  expect(Math.abs(moment(4) - 3)).toBeLessThan(0.2);
  const random = new Random('integers');
  const counts = new Array<number>(5).fill(0);
  for (let i = 0; i < 10_000; i++) counts[random.integer(5)]++;
  for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(200);
  expect([...random.shuffle([1, 2, 3, 4])].sort()).toEqual([1, 2, 3, 4]);
});

test('the optimizer does what AdamW defines, weight by weight', async () => {
  const first = [1, -2, 3, 0.5];
  const kernel = tf.variable(tf.tensor2d(first, [2, 2]));
  const bias = tf.variable(tf.tensor1d([0.25, -1]));
  const adam = new Adam([kernel, bias], { decay: 0.1, clip: 1 });
  const expected = {
    weights: [...first, 0.25, -1],
    mean: new Array<number>(6).fill(0),
    square: new Array<number>(6).fill(0),
  };
  for (let step = 1; step <= 5; step++) {
    const gradient = Array.from({ length: 6 }, (_, i) => Math.sin(7 * i + step) * step);
    const rate = 0.01 * step;
    const grads = {
      [kernel.name]: tf.tensor2d(gradient.slice(0, 4), [2, 2]),
      [bias.name]: tf.tensor1d(gradient.slice(4)),
    };
    adam.apply(grads, step, rate);
    tf.dispose(grads);
    const factor = Math.min(1, 1 / Math.hypot(...gradient));
    expected.weights = expected.weights.map((weight, i) => {
      const g = gradient[i] * factor;
      const mean = (expected.mean[i] = 0.9 * expected.mean[i] + 0.1 * g);
      const square = (expected.square[i] = 0.98 * expected.square[i] + 0.02 * g * g);
      const moved = mean / (1 - 0.9 ** step) / (Math.sqrt(square / (1 - 0.98 ** step)) + 1e-8);
      return weight - rate * moved - (i < 4 ? rate * 0.1 * weight : 0);
    });
  }
  const weights = [...(await kernel.data()), ...(await bias.data())];
  expect(relativeMax(weights, expected.weights)).toBeLessThan(1e-5);
  adam.dispose();
  tf.dispose([kernel, bias]);
});

test('the rate rises along a line and falls along a cosine', () => {
  const settings = { steps: 100, rate: 2, warmup: 0.1, finalRate: 0.1 };
  expect(rateAt(5, settings)).toBeCloseTo(1);
  expect(rateAt(10, settings)).toBeCloseTo(2);
  expect(rateAt(55, settings)).toBeCloseTo(1.1);
  expect(rateAt(100, settings)).toBeCloseTo(0.2);
});

test('the token embedding and its gradient are those of tfjs', async () => {
  const own = new TokenEmbedding({ name: 'own', vocabulary: 5, width: 3 });
  const theirs = tfl.layers.embedding({ inputDim: 5, outputDim: 3 });
  const ids = tf.tensor2d([4, 0, 0, 2, 4, 4], [2, 3], 'int32');
  const table = tf.tensor2d(
    Array.from({ length: 15 }, (_, i) => Math.cos(i)),
    [5, 3],
  );
  const weight = tf.randomNormal([2, 3, 3], 0, 1, 'float32', 5);
  const results: number[][] = [];
  for (const layer of [own, theirs]) {
    layer.apply(ids);
    layer.setWeights([table]);
    const f = () => tf.sum<tf.Scalar>(tf.square(tf.add(layer.apply(ids) as tf.Tensor, weight)));
    const { value, grads } = tf.variableGrads(f);
    const { name } = layer.trainableWeights[0].read() as tf.Tensor & { readonly name: string };
    results.push([...(await value.data()), ...(await grads[name].data())]);
  }
  expect(relativeMax(results[0], results[1])).toBeLessThan(1e-6);
});

test('permutations compose', () => {
  expect(permutations(3)).toEqual([
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ]);
  const table = composition(3);
  const number = (a: number, b: number) => table[6 * a + b];
  // 1 swaps the last two, 2 the first two: one after the other they rotate, one way or the other.
  expect([number(0, 4), number(4, 0), number(1, 1), number(1, 2), number(2, 1)]).toEqual([4, 4, 0, 3, 4]);
  for (let a = 0; a < 6; a++) {
    for (let b = 0; b < 6; b++) {
      for (let c = 0; c < 6; c++) expect(number(number(a, b), c)).toBe(number(a, number(b, c)));
    }
  }
  expect(new Set(composition(5)).size).toBe(120);
});

test('the states of a word are those of its letters applied to three things, one after the other', () => {
  const { letters, states } = trackingBatch(new Random('word'), { batch: 2, length: 9, elements: 3 }, composition(3));
  const all = permutations(3);
  for (let row = 0; row < 2; row++) {
    let places = [0, 1, 2];
    for (let i = 9 * row; i < 9 * row + 9; i++) {
      places = places.map((place) => all[letters[i]][place]);
      expect(all[states[i]]).toEqual(places);
    }
  }
});

test('a recall sequence asks for each of its keys once', () => {
  const [pairs, vocabulary] = [6, 20];
  const { tokens, answers } = recallBatch(new Random('recall'), { batch: 3, pairs, vocabulary });
  for (let row = 0; row < 3; row++) {
    const sequence = [...tokens.subarray(row * 3 * pairs, (row + 1) * 3 * pairs)];
    const values = new Map(Array.from({ length: pairs }, (_, i) => [sequence[2 * i], sequence[2 * i + 1]] as const));
    expect(values.size).toBe(pairs);
    const asked = sequence.slice(2 * pairs);
    expect(new Set(asked).size).toBe(pairs);
    expect(asked.map((key) => values.get(key))).toEqual([...answers.subarray(row * pairs, (row + 1) * pairs)]);
    for (const [key, value] of values) expect([key < 10, value >= 10 && value < 20]).toEqual([true, true]);
  }
});

test('a stream has unit inputs, one linear map a segment, and regions apart unless they are shared', () => {
  const sizes = { batch: 1, count: 60, segment: 30, dim: 4 };
  const rows = (values: Float32Array, from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => [...values.subarray(4 * (from + i), 4 * (from + i + 1))]);
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const mean = (some: number[][]) => some[0].map((_, i) => some.reduce((sum, row) => sum + row[i], 0) / some.length);
  for (const isShared of [false, true]) {
    const { inputs, outputs } = segmentedStreams(new Random('stream', 3), sizes, { spread: 0.3, isShared });
    for (const row of rows(inputs, 0, 60)) expect(dot(row, row)).toBeCloseTo(1, 5);
    const [early, late] = [mean(rows(inputs, 0, 30)), mean(rows(inputs, 30, 60))];
    const cosine = dot(early, late) / Math.sqrt(dot(early, early) * dot(late, late));
    if (isShared) expect(cosine).toBeGreaterThan(0.98);
    else expect(cosine).toBeLessThan(0.9);
    // Within a segment outputs are linear in inputs: a fifth pair follows from four, by the solution of a system.
    const x = tf.tensor2d(rows(inputs, 0, 5));
    const y = tf.tensor2d(rows(outputs, 0, 5));
    const [q, r] = tf.linalg.qr(tf.transpose(tf.slice(x, 0, 4)));
    const projected = tf.matMul(q, tf.reshape(tf.slice(x, 4), [4, 1]), true).dataSync();
    const upper = r.arraySync() as number[][];
    const weights = [0, 0, 0, 0];
    for (let i = 3; i >= 0; i--) {
      weights[i] = (projected[i] - dot(upper[i].slice(i + 1), weights.slice(i + 1))) / upper[i][i];
    }
    const told = tf.matMul(tf.tensor2d([weights]), tf.slice(y, 0, 4)).dataSync();
    expect(relativeMax([...told], rows(outputs, 4, 5)[0])).toBeLessThan(1e-3);
  }
});
