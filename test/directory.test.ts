import * as tf from '@tensorflow/tfjs-core';
import { layers as tfLayers, loadLayersModel, type Sequential, sequential } from '@tensorflow/tfjs-layers';
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import * as promises from 'node:fs/promises';
import { join } from 'node:path';
import { directory } from '../src/node.js';
import { useBackend } from './backends.js';
import { remove, temporaryFolder } from './consumer.js';

interface Saved {
  weightsManifest: { paths: string[]; weights: object[] }[];
  [field: string]: unknown;
}

let folder: string;

beforeAll(() => useBackend('cpu'));
beforeEach(() => {
  folder = join(temporaryFolder(), 'models', 'mine');
});
afterEach(() => {
  jest.restoreAllMocks();
  remove(join(folder, '../..'));
});

function makeModel(): Sequential {
  const model = sequential({
    layers: [tfLayers.dense({ units: 3, inputShape: [4], biasInitializer: 'randomNormal' })],
  });
  model.compile({ optimizer: 'rmsprop', loss: 'meanSquaredError' });
  return model;
}

const readModel = () => JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as Saved;
const bits = (model: { getWeights(): tf.Tensor[] }) =>
  model.getWeights().map((weight) => Array.from(weight.dataSync()));

test('saves and loads every bit, the optimizer and notes with it', async () => {
  const model = makeModel();
  const [x, y] = [tf.ones([2, 4]), tf.ones([2, 3])];
  await model.fit(x, y, { epochs: 2 });
  model.setUserDefinedMetadata({ note: 'kept' });
  const { modelArtifactsInfo } = await model.save(directory(folder), { includeOptimizer: true });
  // Two weights and Adam's: an iteration counter and two moments of each.
  expect(modelArtifactsInfo).toMatchObject({ modelTopologyType: 'JSON', weightDataBytes: 4 * (3 * 15 + 1) });
  expect(readdirSync(folder).sort()).toEqual(['model.json', expect.stringMatching(/^weights-[0-9a-f]{16}\.bin$/)]);
  const again = await loadLayersModel(directory(folder));
  expect(bits(again)).toEqual(bits(model));
  expect(again.getUserDefinedMetadata()).toEqual({ note: 'kept' });
  const [here, there] = [await model.fit(x, y), await again.fit(x, y)];
  expect(there.history).toEqual(here.history);
  expect(bits(again)).toEqual(bits(model));
});

test("is the format of tfjs's other handlers", async () => {
  const model = makeModel();
  await model.save(directory(folder));
  const saved = readModel();
  const [{ paths, weights }] = saved.weightsManifest;
  expect(saved).toMatchObject({
    format: 'layers-model',
    generatedBy: expect.stringContaining('TensorFlow.js') as string,
  });
  expect(weights).toHaveLength(2);
  // As a browser would get it; Node's own Response parses to arrays that are none in jest's sandbox.
  const fetchFunc = (url: unknown) => {
    const body = readFileSync(join(folder, String(url).split('/').at(-1) ?? ''));
    const data = new Uint8Array(body).buffer;
    const json = () => Promise.resolve(JSON.parse(body.toString('utf8')) as unknown);
    return Promise.resolve(Object.assign(new Response(), { json, arrayBuffer: () => Promise.resolve(data) }));
  };
  const served = tf.io.http('http://localhost/mine/model.json', {
    fetchFunc,
  });
  expect(bits(await loadLayersModel(served))).toEqual(bits(model));
  expect(paths).toHaveLength(1);
});

test('a model takes the place of the one before, whose weights go', async () => {
  await makeModel().save(directory(folder));
  const [before] = readModel().weightsManifest[0].paths;
  writeFileSync(join(folder, 'notes.txt'), 'mine');
  const model = makeModel();
  await model.save(directory(folder));
  await model.save(directory(folder));
  expect(existsSync(join(folder, before))).toBe(false);
  expect(readdirSync(folder)).toHaveLength(3);
  expect(bits(await loadLayersModel(directory(folder)))).toEqual(bits(model));
});

test.each(['weights', 'model.json'])('a failure while %s are written leaves the old model whole', async (what) => {
  const old = makeModel();
  await old.save(directory(folder));
  const files = readdirSync(folder).sort();
  // The place that the file is to be moved to is taken by a directory that cannot be replaced.
  const model = makeModel();
  const handler = directory(folder);
  if (what === 'model.json') {
    await expect(
      handler.save({ modelTopology: { toJSON: () => { throw new Error('disk full'); } }, weightSpecs: [], weightData: new ArrayBuffer(8) }), // prettier-ignore
    ).rejects.toThrow('disk full');
  } else {
    const bytes = await weightsOf(model);
    const { createHash } = await import('node:crypto');
    const name = `weights-${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}.bin`;
    mkdirSync(join(folder, name, 'in the way'), { recursive: true });
    await expect(model.save(handler)).rejects.toThrow();
    await promises.rm(join(folder, name), { recursive: true });
  }
  expect(readdirSync(folder).filter((file) => file.endsWith('.tmp'))).toEqual([]);
  expect(readdirSync(folder)).toEqual(expect.arrayContaining(files));
  expect(bits(await loadLayersModel(directory(folder)))).toEqual(bits(old));
});

async function weightsOf(model: Sequential): Promise<Uint8Array> {
  let data: tf.io.WeightData | undefined;
  await model.save(
    tf.io.withSaveHandler((artifacts) => {
      data = artifacts.weightData;
      return Promise.resolve({ modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } });
    }),
  );
  return new Uint8Array(tf.io.CompositeArrayBuffer.join(data));
}

describe('refuses, and names the file', () => {
  const loading = () => loadLayersModel(directory(folder));

  test('no name', () => {
    const untyped = directory as (path?: unknown) => unknown;
    for (const path of ['', undefined, null, 3]) expect(() => untyped(path)).toThrow(/^directory: path must be/);
  });

  test('a directory without a model', async () => {
    await expect(loading()).rejects.toThrow(`${join(folder, 'model.json')} cannot be read`);
  });

  test.each([
    ['{ "modelTopology": ', 'is not JSON'],
    ['null', 'is no model'],
    ['{}', 'is no model'],
    ['{ "modelTopology": {}, "weightsManifest": 3 }', 'is no model'],
  ])('model.json of %p', async (text, problem) => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'model.json'), text);
    await expect(loading()).rejects.toThrow(`${join(folder, 'model.json')} ${problem}`);
  });

  test('weights that are missing or cut off; no tensor stays behind', async () => {
    await makeModel().save(directory(folder));
    const [name] = readModel().weightsManifest[0].paths;
    const before = tf.memory().numTensors;
    truncateSync(join(folder, name), 59);
    await expect(loading()).rejects.toThrow(`${folder} holds 59 bytes of weights where model.json lists 60`);
    remove(join(folder, name));
    await expect(loading()).rejects.toThrow(`${join(folder, name)} cannot be read`);
    expect(tf.memory().numTensors).toBe(before);
  });

  test.each(['../secret.bin', '/etc/hostname', 'a/../../secret.bin'])('weights outside of it: %s', async (path) => {
    await makeModel().save(directory(folder));
    const saved = readModel();
    saved.weightsManifest[0].paths = [path];
    writeFileSync(join(folder, 'model.json'), JSON.stringify(saved));
    await expect(loading()).rejects.toThrow('outside of its directory');
  });

  test('a topology that is no JSON', async () => {
    await expect(directory(folder).save({ modelTopology: new ArrayBuffer(8) })).rejects.toThrow('binary topology');
    expect(existsSync(folder)).toBe(false);
  });
});
