/** Models as the demo site loads them: with the notes of their run, and in half the bytes. */
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { loadLayersModel } from '@tensorflow/tfjs-layers';
import { recallBatch } from '../../models/associative_recall/data.js';
import { recallModel } from '../../models/associative_recall/model.js';
import { Recaller } from '../../models/associative_recall/recall.js';
import { halved } from '../../models/common/halved.js';
import { charactersOf } from '../../models/language_model/demo/characters.js';
import { Random } from '../../models/trainer/random.js';
import { setFirstValues } from '../../models/trainer/weights.js';
import { directory } from '../../src/node.js';
import { useBackend } from '../backends.js';

let folder: string;

beforeEach(async () => {
  await useBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'saved-models-'));
});

afterEach(() => rm(folder, { recursive: true }));

const SETTINGS = { vocabulary: 16, width: 8, heads: 2, layers: 2, ridge: 1, pairs: 3 };

function untrained() {
  const { model } = recallModel('localLinear', SETTINGS);
  setFirstValues(model, new Random('test'), 1);
  return model;
}

const bytesOf = async (path: string): Promise<number> => {
  const [weights] = (await readdir(path)).filter((name) => name.endsWith('.bin'));
  return (await stat(join(path, weights))).size;
};

test('halved weights take half the bytes and come back with eleven bits', async () => {
  const model = untrained();
  const [whole, half] = ['whole', 'half'].map((name) => join(folder, name));
  await model.save(directory(whole));
  await model.save(halved(directory(half)));
  expect(await bytesOf(half)).toBe((await bytesOf(whole)) / 2);
  const again = await loadLayersModel(directory(half));
  for (const [i, weight] of model.getWeights().entries()) {
    const [before, after] = [await weight.data(), await again.getWeights()[i].data()];
    for (let at = 0; at < before.length; at++) {
      expect(Math.abs(after[at] - before[at])).toBeLessThanOrEqual(Math.abs(before[at]) * 2 ** -11 + 2 ** -25);
    }
  }
});

test('a saved model answers as the one that was saved, and says what it looks at', async () => {
  const model = untrained();
  model.setUserDefinedMetadata({ model: 'associative_recall', attention: 'localLinear', settings: SETTINGS });
  await model.save(directory(folder));
  const [before, after] = [
    new Recaller(model, 'made'),
    new Recaller(await loadLayersModel(directory(folder)), 'saved'),
  ];
  const { tokens } = recallBatch(new Random('test'), { batch: 1, ...SETTINGS });
  const answers = await after.answer(tokens);
  expect(answers).toEqual(await before.answer(tokens));
  expect(answers).toHaveLength(3);
  for (const { token, probability } of answers) {
    expect(token).toBeGreaterThanOrEqual(8);
    expect(probability).toBeGreaterThan(1 / 8 - 1e-6);
  }
  const { numTensors } = tf.memory();
  const weights = await after.weights(tokens, 6);
  expect(weights).toHaveLength(7);
  expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 4);
  expect(tf.memory().numTensors).toBe(numTensors);
});

test('a model without the notes of its run is refused by name', () => {
  expect(() => new Recaller(untrained(), 'results/softmax')).toThrow(
    /^results\/softmax: no notes of a run of associative_recall/,
  );
});

test('bytes are shown as the characters that they make', () => {
  const bytes = new TextEncoder().encode('aä€');
  expect(charactersOf(bytes)).toEqual([
    { text: 'a', last: 0 },
    { text: 'ä', last: 2 },
    { text: '€', last: 5 },
  ]);
  expect(charactersOf(bytes.subarray(0, 4)).at(-1)).toEqual({ text: '\uFFFD', last: 3 });
});
