/** Files that PyTorch wrote (scripts/torch_fixture): what its attention modules compute is what comes out here. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { layers, type SoftmaxAttentionArgs } from '../src/layers/index.js';
import {
  loadSafetensors,
  saveSafetensors,
  torchAttention,
  torchMultiheadAttention,
  type SaveSafetensorsOptions,
  type WeightMap,
} from '../src/safetensors/index.js';
import { backends, useBackend } from './backends.js';
import { readFile } from './safetensors_file.js';

const read = (name: string) => readFileSync(join('test/fixtures/torch', `${name}.safetensors`));

const expected = readFile(read('expected'));
const expectedTensor = (name: string) => tf.tensor(expected.values(name), [...expected.header[name].shape]);

interface TorchFile {
  readonly name: string;
  readonly input: string;
  readonly args: SoftmaxAttentionArgs;
  readonly map: WeightMap;
  /** How the file comes back byte for byte. */
  readonly save: SaveSafetensorsOptions;
}

const linears = (dtype: 'F32' | 'F16' | 'BF16'): TorchFile => ({
  name: `linears_${dtype.toLowerCase()}`,
  input: 'x',
  args: { numHeads: 2, keyDim: 3, valueDim: 4, outputShape: 7 },
  map: torchAttention('layers.0.attn', { layer: 'attention' }),
  save: { dtype },
});

const files: readonly TorchFile[] = [
  linears('F32'),
  linears('F16'),
  linears('BF16'),
  {
    name: 'multihead',
    input: 'multihead.x',
    args: { numHeads: 3, keyDim: 4 },
    map: torchMultiheadAttention(''),
    save: { metadata: { format: 'pt' } },
  },
];

/** A layer that is built for an input. */
function builtFor(input: tf.Tensor, args: SoftmaxAttentionArgs) {
  const layer = layers.softmaxAttention({ name: 'attention', ...args });
  (layer.apply(input) as tf.Tensor).dispose();
  return layer;
}

describe.each(backends)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(files)('$name', ({ name, input, args, map, save }) => {
    test.each([
      ['full', false],
      ['causal', true],
    ])('the layer with %s attention gives what PyTorch computed', async (kind, useCausalMask) => {
      const [x, wanted] = [expectedTensor(input), expectedTensor(`${name}.${kind}`)];
      const layer = builtFor(x, { ...args, useCausalMask });
      const { loaded } = await loadSafetensors(layer, read(name), { map });
      expect(loaded).toHaveLength(8);
      const found = layer.apply(x) as tf.Tensor;
      expect(found.shape).toEqual(wanted.shape);
      const values = await wanted.data();
      const scale = Math.max(...values.map(Math.abs));
      const error = Math.max(...(await found.data()).map((value, index) => Math.abs(value - values[index])));
      expect(error / scale).toBeLessThan(1e-6);
      layer.dispose();
      tf.dispose([x, wanted, found]);
    });

    test('the file comes back byte for byte', async () => {
      const x = expectedTensor(input);
      const layer = builtFor(x, args);
      await loadSafetensors(layer, read(name), { map });
      const saved = await saveSafetensors(layer, { map, ...save });
      expect(Buffer.compare(Buffer.from(saved), read(name))).toBe(0);
      layer.dispose();
      x.dispose();
    });
  });
});

test('a model of every kind of layer is written and read', async () => {
  await useBackend('cpu');
  const build = () => {
    const args = { numHeads: 2, keyDim: 4 };
    const model = tf.sequential();
    model.add(layers.localLinearAttention({ ...args, name: 'one', inputShape: [3, 6], trainableRidge: true }));
    model.add(layers.mesaAttention({ ...args, name: 'two', trainableRidge: true }));
    model.add(layers.parallaxAttention({ ...args, name: 'three' }));
    model.add(layers.linearAttention({ ...args, name: 'four' }));
    model.add(layers.transformerBlock({ ...args, name: 'five', attention: 'softmax' }));
    return model;
  };
  const [model, other] = [build(), build()];
  const { loaded } = await loadSafetensors(other, await saveSafetensors(model));
  expect(loaded).toHaveLength(model.weights.length);
  expect(loaded).toEqual(expect.arrayContaining(['one/ridge', 'three/probe/kernel']));
  const x = tf.randomNormal([2, 3, 6], 0, 1, 'float32', 1);
  const [before, after] = [model, other].map((each) => (each.predict(x) as tf.Tensor).dataSync());
  expect([...after]).toEqual([...before]);
  for (const each of [model, other, x]) each.dispose();
});

test('a projection of another width is refused by both shapes', async () => {
  const x = expectedTensor('x');
  const layer = builtFor(x, { numHeads: 4, keyDim: 3, valueDim: 4, outputShape: 7 });
  const loading = loadSafetensors(layer, read('linears_f32'), { map: torchAttention('layers.0.attn') });
  await expect(loading).rejects.toThrow(
    "tensor 'layers.0.attn.q_proj.weight' has shape [6, 10], weight 'attention/query/kernel' [10, 4, 3] needs [12, 10]",
  );
  layer.dispose();
  x.dispose();
});
