import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { layers } from '../src/layers/index.js';
import { modelFolder } from '../src/node.js';
import { useBackend } from './backends.js';

let parent: string;
beforeAll(async () => {
  await useBackend('cpu');
  parent = mkdtempSync(join(tmpdir(), 'tfjs-lla-folder-'));
});
afterAll(() => rmSync(parent, { recursive: true }));

const build = () =>
  tf.sequential({
    layers: [
      layers.localLinearAttention({ inputShape: [5, 3], numHeads: 2, keyDim: 4, trainableRidge: true, rotary: true }),
      tf.layers.dense({ units: 1 }),
    ],
  });

test('a model comes back bit for bit, and replaces the one that was there', async () => {
  const folder = join(parent, 'deep', 'model');
  const x = tf.randomNormal([2, 5, 3], 0, 1, 'float32', 1);
  for (let round = 0; round < 2; round++) {
    const model = build();
    const { modelArtifactsInfo } = await model.save(modelFolder(folder));
    expect(modelArtifactsInfo.weightDataBytes).toBe(4 * model.countParams());
    const again = await tf.loadLayersModel(modelFolder(folder));
    const [before, after] = [model, again].map((each) => each.predict(x) as tf.Tensor);
    expect([...after.dataSync()]).toEqual([...before.dataSync()]);
    for (const each of [model, again, before, after]) each.dispose();
  }
  x.dispose();
  expect(readdirSync(folder).sort()).toEqual(['model.json', 'weights.bin']);
});

test('the format is the one that tfjs reads from memory and from the web', async () => {
  const folder = join(parent, 'format');
  const model = build();
  await model.save(modelFolder(folder));
  const artifacts = await new Promise<tf.io.ModelArtifacts>((resolve) => {
    const keep = (saved: tf.io.ModelArtifacts) => {
      resolve(saved);
      return Promise.resolve({ modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(saved) });
    };
    void model.save(tf.io.withSaveHandler(keep));
  });
  const { weightsManifest, ...rest } = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as tf.io.ModelJSON;
  expect(weightsManifest).toEqual([{ paths: ['weights.bin'], weights: artifacts.weightSpecs }]);
  expect(rest.modelTopology).toEqual(JSON.parse(JSON.stringify(artifacts.modelTopology)));
  expect(rest).toMatchObject({ format: 'layers-model', convertedBy: null });
  const data = new Uint8Array(tf.io.CompositeArrayBuffer.join(artifacts.weightData));
  expect(Buffer.compare(readFileSync(join(folder, 'weights.bin')), data)).toBe(0);
  model.dispose();
});

test('what is no folder, and folders that hold no whole model', async () => {
  expect(() => modelFolder('')).toThrow("modelFolder: path must be a text that is not empty, got ''");
  const load = (folder: string) => tf.loadLayersModel(modelFolder(folder));
  await expect(load(join(parent, 'none'))).rejects.toThrow(/^modelFolder: cannot read .*none.model\.json: .*ENOENT/);
  const folder = join(parent, 'broken');
  const model = build();
  await model.save(modelFolder(folder));
  truncateSync(join(folder, 'weights.bin'), 100);
  await expect(load(folder)).rejects.toThrow(/^modelFolder: weights\.bin in .* has 100 bytes, its weights need \d+$/);
  rmSync(join(folder, 'weights.bin'));
  await expect(load(folder)).rejects.toThrow(/^modelFolder: cannot read .*weights\.bin/);
  writeFileSync(join(folder, 'model.json'), '{');
  await expect(load(folder)).rejects.toThrow(/^modelFolder: .*model\.json is no JSON/);
  // A file where the folder should be.
  await expect(model.save(modelFolder(join(folder, 'model.json')))).rejects.toThrow(/EEXIST|ENOTDIR/);
  model.dispose();
});
