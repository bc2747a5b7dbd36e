/** Files that PyTorch wrote (scripts/torch_fixture): what its attention modules compute is what comes out here. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { softmaxAttention } from '../src/index.js';
import {
  loadSafetensors,
  saveSafetensors,
  torchAttention,
  torchMultiheadAttention,
  type WeightMap,
} from '../src/safetensors/index.js';
import { backends, useBackend } from './backends.js';
import { readFile, variables } from './safetensors_file.js';

const read = (name: string) => readFileSync(join('test/fixtures/torch', `${name}.safetensors`));

const expected = readFile(read('expected'));
const expectedTensor = (name: string) => tf.tensor(expected.values(name), [...expected.header[name].shape]);

/** Shapes of an attention layer's weights, in Keras' layout. */
const shapes = (layer: string, dim: number, heads: number, keyDim: number, valueDim: number, out: number) => ({
  [`${layer}/query/kernel`]: [dim, heads, keyDim],
  [`${layer}/query/bias`]: [heads, keyDim],
  [`${layer}/key/kernel`]: [dim, heads, keyDim],
  [`${layer}/key/bias`]: [heads, keyDim],
  [`${layer}/value/kernel`]: [dim, heads, valueDim],
  [`${layer}/value/bias`]: [heads, valueDim],
  [`${layer}/attention_output/kernel`]: [heads, valueDim, out],
  [`${layer}/attention_output/bias`]: [out],
});

/** Multi-head softmax attention by the weights of a layer, as Keras defines it. */
function attend(weights: readonly tf.Tensor[], x: tf.Tensor, causal: boolean): tf.Tensor {
  const [queryKernel, queryBias, keyKernel, keyBias, valueKernel, valueBias, outputKernel, outputBias] = weights;
  const [B, T, dim] = x.shape;
  const heads = (kernel: tf.Tensor, bias: tf.Tensor) => {
    const [, H, D] = kernel.shape;
    const projected = tf.matMul(tf.reshape(x, [B * T, dim]), tf.reshape(kernel, [dim, H * D]));
    return tf.transpose(tf.add(tf.reshape(projected, [B, T, H, D]), bias), [0, 2, 1, 3]);
  };
  const attended = softmaxAttention(
    heads(queryKernel, queryBias),
    heads(keyKernel, keyBias),
    heads(valueKernel, valueBias),
    { causal },
  );
  const [H, Dv, out] = outputKernel.shape;
  const flat = tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [B * T, H * Dv]);
  const projected = tf.matMul(flat, tf.reshape(outputKernel, [H * Dv, out]));
  return tf.add(tf.reshape(projected, [B, T, out]), outputBias);
}

interface TorchFile {
  readonly name: string;
  readonly input: string;
  readonly map: WeightMap;
  readonly weights: Record<string, number[]>;
  /** How the file comes back byte for byte. */
  readonly save: Parameters<typeof saveSafetensors>[1];
}

const linears = (dtype: 'F32' | 'F16' | 'BF16'): TorchFile => ({
  name: `linears_${dtype.toLowerCase()}`,
  input: 'x',
  map: torchAttention('layers.0.attn', { layer: 'attention' }),
  weights: shapes('attention', 10, 2, 3, 4, 7),
  save: { dtype },
});

const files: readonly TorchFile[] = [
  linears('F32'),
  linears('F16'),
  linears('BF16'),
  {
    name: 'multihead',
    input: 'multihead.x',
    map: torchMultiheadAttention('', { layer: 'attention' }),
    weights: shapes('attention', 12, 3, 4, 4, 12),
    save: { metadata: { format: 'pt' } },
  },
];

describe.each(backends)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(files)('$name', ({ name, input, map, weights, save }) => {
    test.each([
      ['full', false],
      ['causal', true],
    ])('%s attention gives what PyTorch computed', async (kind, causal) => {
      const model = variables(weights);
      const { loaded } = await loadSafetensors(model, read(name), { map });
      expect(loaded).toEqual(Object.keys(weights));
      const wanted = expectedTensor(`${name}.${kind}`);
      const found = tf.tidy(() => attend(model.weights, expectedTensor(input), causal));
      expect(found.shape).toEqual(wanted.shape);
      const values = await wanted.data();
      const scale = Math.max(...values.map(Math.abs));
      const error = Math.max(...(await found.data()).map((value, index) => Math.abs(value - values[index])));
      expect(error / scale).toBeLessThan(1e-6);
      tf.dispose([model.weights, wanted, found]);
    });

    test('the file comes back byte for byte', async () => {
      const model = variables(weights);
      await loadSafetensors(model, read(name), { map });
      const saved = await saveSafetensors(model, { map, ...save });
      expect(Buffer.compare(Buffer.from(saved), read(name))).toBe(0);
      model.dispose();
    });
  });
});

test('a projection of another width is refused by both shapes', async () => {
  await useBackend('cpu');
  const model = variables(shapes('attention', 10, 4, 3, 4, 7));
  const loading = loadSafetensors(model, read('linears_f32'), { map: torchAttention('layers.0.attn') });
  await expect(loading).rejects.toThrow(
    "tensor 'layers.0.attn.q_proj.weight' has shape [6, 10], weight 'attention/query/kernel' [10, 4, 3] needs [12, 10]",
  );
  model.dispose();
});
