/** The language model: its data, the bigram model beside it, a short run from text to saved model, bad arguments. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { loadLayersModel } from '@tensorflow/tfjs-layers';
import { BigramModel } from '../models/language_model/bigram.js';
import { corpusOf, startsOf, windowsAt } from '../models/language_model/data.js';
import { languageModel, lossOf } from '../models/language_model/model.js';
import { sampleText } from '../models/language_model/sampling.js';
import { mobyDick, ownText } from '../models/language_model/text.js';
import { experimentOn } from '../models/language_model/train.js';
import { modelOfRun } from '../models/language_model/trained.js';
import { runOnce } from '../models/trainer/compare.js';
import { ATTENTIONS, isTrained } from '../models/trainer/experiment.js';
import { Random } from '../models/trainer/random.js';
import { setFirstValues, trainedVariables } from '../models/trainer/weights.js';
import { directory } from '../src/node.js';
import { useBackend } from './backends.js';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const SMALL = { dim: 16, heads: 2, layers: 1, ridge: 1 };

let folder: string;

beforeAll(async () => {
  await useBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'language_model-'));
});

afterAll(() => rm(folder, { recursive: true }));

describe('the bigram model', () => {
  const [a, b, c] = bytesOf('abc');
  const model = new BigramModel(bytesOf('aab'));

  test('has the probabilities of its counts, worked out by hand', () => {
    // Single bytes: a 2 + 1 of 3 + 256, b 1 + 1, c 0 + 1. After a: one a, one b. After b: nothing.
    expect(model.probability(a, a)).toBeCloseTo((1 + 3 / 259) / 3, 14);
    expect(model.probability(b, a)).toBeCloseTo((1 + 2 / 259) / 3, 14);
    expect(model.probability(c, a)).toBeCloseTo((0 + 1 / 259) / 3, 14);
    expect(model.probability(c, b)).toBeCloseTo(1 / 259, 14);
    for (const before of [a, b, c]) {
      const sum = Array.from({ length: 256 }, (_, byte) => model.probability(byte, before)).reduce((x, y) => x + y);
      expect(sum).toBeCloseTo(1, 12);
    }
  });

  test('has the mean loss of the pairs that it is asked for', () => {
    const [first, second] = [-Math.log((1 + 2 / 259) / 3), -Math.log(1 / 259)];
    expect(model.loss(bytesOf('abc'))).toBeCloseTo((first + second) / 2, 12);
    expect(model.loss(bytesOf('abc'), 1)).toBeCloseTo(first, 12);
  });
});

describe('the text', () => {
  test('is Moby-Dick from the etymology to the epilogue, its end held out', async () => {
    const corpus = corpusOf(await mobyDick(), 256);
    const text = new TextDecoder('utf-8', { fatal: true }).decode(corpus.bytes);
    expect(text).toMatch(/^ETYMOLOGY/);
    expect(text).toContain('\n\nCHAPTER 1. Loomings.\n\nCall me Ishmael. ');
    expect(text.trimEnd()).toMatch(/orphan\.$/);
    expect(corpus.training.length + corpus.heldOut.length).toBe(corpus.bytes.length);
    expect(corpus.bytes.length).toBe(1_216_553);
    expect(corpus.heldOut.at(-1)).toBe(corpus.bytes.at(-1));
    expect(corpus.heldOut.length / corpus.bytes.length).toBeCloseTo(0.1, 5);
  });

  test('is cut into windows and the bytes that follow', async () => {
    const bytes = bytesOf('abcdefghij');
    expect(startsOf(bytes, 3)).toEqual([0, 3, 6]);
    expect(startsOf(bytes.subarray(0, 9), 3)).toEqual([0, 3]);
    const { inputs, targets } = windowsAt(bytes, [0, 6], 3);
    const textOf = async (x: tf.Tensor) => String.fromCharCode(...(await x.data()));
    expect([inputs.shape, inputs.dtype, await textOf(inputs)]).toEqual([[2, 3], 'int32', 'abcghi']);
    expect([targets.shape, targets.dtype, await textOf(targets)]).toEqual([[2, 3], 'int32', 'bcdhij']);
  });

  test('must be a text file that is long enough', async () => {
    const [short, binary] = [join(folder, 'short.txt'), join(folder, 'binary')];
    await writeFile(short, 'x'.repeat(329));
    await writeFile(binary, Uint8Array.of(65, 0, 66));
    const text = await ownText(short);
    expect(() => corpusOf(text, 33)).toThrow(
      /short\.txt: 329 bytes are too few for a context of 33.*at least 340 bytes/,
    );
    expect(corpusOf(text, 32).heldOut).toHaveLength(33);
    await expect(ownText(binary)).rejects.toThrow('binary: this is not a text file');
    await expect(ownText(join(folder, 'none'))).rejects.toThrow('there is no such file');
  });
});

describe.each(ATTENTIONS)('the model with attention %s', (attention) => {
  test('has the loss and the gradients of its saved form, whose embedding is a lookup', async () => {
    const model = languageModel(attention, SMALL);
    setFirstValues(model, new Random(attention), 1);
    const variables = trainedVariables(model);
    const windows = windowsAt(bytesOf('Hello \u00ff!'), [0], 8);
    const { inputs: ids, targets } = windows;
    const plain = (): tf.Scalar => {
      const logits = tf.reshape(model.apply(ids) as tf.Tensor, [8, 256]);
      return tf.losses.softmaxCrossEntropy(tf.oneHot(tf.reshape(targets, [-1]), 256), logits);
    };
    const expected = tf.variableGrads(plain, variables);
    const actual = tf.variableGrads(() => lossOf(model, windows), variables);
    expect((await actual.value.data())[0]).toBeCloseTo((await expected.value.data())[0], 5);
    for (const { name } of variables) {
      const difference = tf.max(tf.abs(tf.sub(actual.grads[name], expected.grads[name])));
      expect((await difference.data())[0]).toBeLessThan(1e-5);
    }
    model.dispose();
  });

  test('writes by its caches what its full forward says, and the same for the same seed', async () => {
    const model = languageModel(attention, SMALL);
    setFirstValues(model, new Random(attention, 'sampling'), 1);
    const greedy = await sampleBytes(model, 'Call me', { maxTokens: 6, temperature: 0 });
    const all = [...bytesOf('Call me'), ...greedy];
    const logits = model.predict(tf.tensor2d(all, [1, all.length])) as tf.Tensor3D;
    const likeliest = [...(await tf.argMax(logits, -1).data())];
    expect(greedy).toEqual(likeliest.slice(6, -1));
    const options = { maxTokens: 12, temperature: 1 };
    const once = await sampleText(model, 'Call me', { ...options, seed: 3 });
    expect(await sampleText(model, 'Call me', { ...options, seed: 3 })).toBe(once);
    expect(await sampleText(model, 'Call me', { ...options, seed: 4 })).not.toBe(once);
    model.dispose();
  });
});

/** The bytes that `sampleText` shows, of a model that gives single-byte characters only. */
async function sampleBytes(
  model: Parameters<typeof sampleText>[0],
  prompt: string,
  options: Parameters<typeof sampleText>[2],
): Promise<number[]> {
  const { generate } = await import('../src/layers/index.js');
  return generate(model, [...bytesOf(prompt)], options);
}

test('characters of several bytes are shown whole', async () => {
  const model = languageModel('softmax', SMALL);
  // Blocks of zeros hand on what comes in; so each byte decides the next one.
  const order = [...bytesOf('a\u2014')];
  model.setWeights(model.getWeights().map((weight) => tf.zerosLike(weight)));
  const [embedding, norm, logits] = [model.layers[0], ...model.layers.slice(-2)];
  const row = (index: number) => Array.from({ length: SMALL.dim }, (_, feature) => Number(feature === index));
  embedding.setWeights([tf.tensor2d(Array.from({ length: 256 }, (_, byte) => row(order.indexOf(byte))))]);
  norm.setWeights([tf.ones([SMALL.dim]), tf.zeros([SMALL.dim])]);
  const kernel = tf.buffer([SMALL.dim, 256]);
  order.forEach((_, index) => kernel.set(1, index, order[index + 1] ?? order[1]));
  logits.setWeights([kernel.toTensor(), tf.zeros([256])]);
  const pieces: string[] = [];
  const text = await sampleText(model, 'a', { maxTokens: 7, temperature: 0 }, (piece) => pieces.push(piece));
  // The last one is not complete.
  expect(text).toBe('\u2014\u2014\ufffd');
  expect(pieces).toEqual(['', '', '\u2014', '', '', '\u2014', '', '\ufffd']);
});

test('a short run learns, and leaves files from which the same model comes back', async () => {
  const file = join(folder, 'text.txt');
  await writeFile(file, 'the white whale and the black sea; '.repeat(60));
  const experiment = await experimentOn(file);
  if (!isTrained(experiment)) throw new Error('it is trained');
  const out = join(folder, 'runs');
  const settings = {
    ...{ steps: 80, batch: 4, rate: 0.02, dim: 16, heads: 2, layers: 1, context: 24 },
    ...{ logEvery: 10, evaluateEvery: 80, sampled: 20 },
  };
  const host = { backend: 'cpu', adapter: 'test', out, command: 'test', mustPause: () => false };
  const how = { restart: false, checkpointSeconds: 1000, keepCheckpoint: true };
  const record = await runOnce(experiment, 'localLinear', 1, settings, how, host);
  if (record === undefined) throw new Error('it has ended');
  const { losses, metrics, notes } = record;
  const { loss, bits, bigram } = metrics as Record<'loss' | 'bits' | 'bigram', number>;
  // A pair of bytes tells less than four of them do, which the model sees.
  expect(losses[0][1]).toBeGreaterThan(3);
  expect(loss).toBeLessThan(0.8 * bigram);
  expect(bits).toBeCloseTo(loss / Math.LN2, 6);
  expect(notes).toMatchObject({ text: file, training: 1890, heldOut: 210, prompt: 'Call me ' });

  const run = join(out, 'localLinear_seed1');
  expect(JSON.parse(await readFile(join(run, 'record.json'), 'utf8'))).toEqual(JSON.parse(JSON.stringify(record)));
  const trained = await modelOfRun(run);
  const { heldOut } = corpusOf(await ownText(file), 24);
  const windows = windowsAt(heldOut, startsOf(heldOut, 24), 24);
  expect((await lossOf(trained, windows).data())[0]).toBeCloseTo(loss, 5);
  await trained.save(directory(join(folder, 'saved')));
  const saved = await loadLayersModel(directory(join(folder, 'saved')));
  expect((await lossOf(saved, windows).data())[0]).toBeCloseTo(loss, 5);
  const sample = { maxTokens: 20, temperature: 0.8, seed: 1 };
  expect(await sampleText(saved, 'Call me ', sample)).toBe((notes as { sample: string }).sample);

  await expect(runOnce(experiment, 'localLinear', 1, { ...settings, text: 5 }, how, host)).rejects.toThrow('text');
  await expect(modelOfRun(join(out, 'softmax_seed1'))).rejects.toThrow('there is no such file');
  for (const [wrong, message] of [
    [{ dim: 18, heads: 2 }, 'even multiple'],
    [{ layers: 1.5 }, 'setting layers'],
    [{ context: 0 }, 'setting context'],
  ] as const) {
    const set = { ...settings, ...wrong };
    await expect(runOnce(experiment, 'softmax', 1, set, how, host)).rejects.toThrow(message);
  }
});

test.each([
  [['--attention', 'hard'], "'hard' is no attention"],
  [['--text', join('no', 'such.txt')], 'there is no such file'],
  [['--set', 'width=3'], "has no setting 'width'"],
])('the trainer refuses %p', (args, message) => {
  const command = ['--import', 'tsx', 'models/trainer/main.ts', 'language_model', '--backend', 'cpu', ...args];
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
  expect([status, stderr.includes(message) ? message : stderr]).toEqual([1, message]);
});

test.each([
  [['Call me', '--model', 'no_such_model'], 'no_such_model/model.json cannot be read'],
  [['Call me', '--run', 'no_such_run'], 'there is no such file'],
  [[''], 'the prompt must not be empty'],
])('sample refuses %p', (args, message) => {
  const command = ['--import', 'tsx', 'models/language_model/main.ts', '--backend', 'cpu', ...args];
  const { status, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
  expect([status, stderr.includes(message) ? message : stderr]).toEqual([1, message]);
});
