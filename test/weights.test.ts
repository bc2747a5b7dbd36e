import * as tf from '@tensorflow/tfjs-core';
import { backends, useBackend } from './backends.js';
import { operators } from './cases.js';
import { judgeWeights } from './judge.js';
import { Random } from './random.js';
import { apply, applyWeights, tensorsOf } from './run_call.js';
import { relativeMax } from './values.js';
import type { Call, Operator, PlainOptions } from './values.js';

function callOf(operator: Operator, lead: number[], options: PlainOptions): Call {
  const random = new Random(lead.length);
  const scored = operator !== 'linearAttention' && operator !== 'mesaAttention';
  return {
    operator,
    options,
    tensors: {
      query: random.normals([...lead, 14, 6]),
      key: random.normals([...lead, 11, 6]),
      value: random.normals([...lead, 11, 4]),
      keyMask: { shape: [2, 11], data: Array.from(random.mask([2, 11], 0.7).data, (x, j) => (j < 11 ? x : 0)) },
      ...(operator === 'parallaxAttention' && { probe: random.normals([...lead, 14, 6]) }),
      ...(operator === 'localLinearAttention' && { ridge: random.logUniform([14], 0.1, 2) }),
      ...(operator === 'mesaAttention' && { ridge: random.logUniform([6], 0.1, 2) }),
      ...(scored && { keyBias: random.normals([2, 11]) }),
    },
  };
}

const variants: [Operator, PlainOptions][] = [
  ...operators.map((operator): [Operator, PlainOptions] => [operator, {}]),
  ...operators.map((operator): [Operator, PlainOptions] => [operator, { causal: true }]),
  ['localLinearAttention', { solver: 'direct', scale: 0.3 }],
  ['linearAttention', { featureMap: 'relu', scale: 0.5 }],
  ['linearAttention', { featureMap: 'identity', normalize: false, scale: 0.5, causal: true }],
];

describe.each(backends)('attentionWeights on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(variants)('%s %j', (operator, options) => {
    test.each([[[2]], [[2, 2]]])('leading dimensions %j', async (lead) => {
      const call = callOf(operator, lead, options);
      const [weights, product, out, sums] = tf.tidy((): tf.Tensor[] => {
        const tensors = tensorsOf(call);
        const matrix = applyWeights(call, tensors);
        const value = tensors.value ?? matrix;
        return [matrix, tf.matMul(matrix, value), apply(call, tensors), tf.sum(matrix, -1)];
      });
      expect(weights.shape).toEqual([...lead, 14, 11]);
      expect(relativeMax(await weights.data(), judgeWeights(call))).toBeLessThan(1e-5);
      expect(relativeMax(await product.data(), await out.data())).toBeLessThan(1e-5);
      // The weights of an operator that averages sum to one, in rows that see a key; the others are zero.
      if (operator !== 'mesaAttention' && options.normalize !== false) {
        const expected = judgeWeights(call);
        const total = (row: number) => expected.slice(row * 11, row * 11 + 11).reduce((a, b) => a + b);
        Array.from((await sums.data()) as Float32Array).forEach((sum, row) => {
          expect([0, 1]).toContain(Math.round(total(row) * 1e9) / 1e9);
          expect(Math.abs(sum - total(row))).toBeLessThan(1e-5);
        });
      }
      tf.dispose([weights, product, out, sums]);
    });
  });

  test('options as nested arrays and numbers', () => {
    const call = callOf('localLinearAttention', [2], {});
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const { query, key } = tensorsOf(call);
      const weights = applyWeights(
        { ...call, options: { ridge: 2, scale: 0.3 } },
        { query, key, keyMask: tf.ones([2, 11], 'bool') },
      );
      expect(weights.shape).toEqual([2, 14, 11]);
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});
