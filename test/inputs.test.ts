import * as tf from '@tensorflow/tfjs-core';
import {
  linearAttention,
  localLinearAttention,
  mesaAttention,
  parallaxAttention,
  softmaxAttention,
} from '../src/index.js';
import { backends, cudaOperations, useBackend } from './backends.js';
import { operators } from './cases.js';
import { Random } from './random.js';
import { apply, tensorsOf } from './run_call.js';
import { relativeL2, type Call, type Operator } from './values.js';

type Nested = number[][][];

const random = new Random(6);

/** Small whole numbers, which int32 holds exactly. */
function integers(...[B, T, D]: [number, number, number]): Nested {
  const draw = () => Math.round(2 * random.normal());
  return Array.from({ length: B }, () => Array.from({ length: T }, () => Array.from({ length: D }, draw)));
}

const query = integers(2, 4, 3);
const key = integers(2, 5, 3);
const value = integers(2, 5, 2);
const probe = integers(2, 4, 3);

type Input = tf.Tensor | Nested;

/** One call, its inputs made by `convert`. */
function run(operator: Operator, convert: (x: Nested) => Input): tf.Tensor {
  const [q, k, v, r] = [query, key, value, probe].map(convert);
  switch (operator) {
    case 'localLinearAttention':
      return localLinearAttention(q, k, v, { causal: true });
    case 'softmaxAttention':
      return softmaxAttention(q, k, v, { causal: true });
    case 'linearAttention':
      return linearAttention(q, k, v, { causal: true });
    case 'parallaxAttention':
      return parallaxAttention(q, k, v, r, { causal: true });
    case 'mesaAttention':
      return mesaAttention(q, k, v, { causal: true });
  }
}

describe.each(backends)('inputs on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(operators)('%s takes nested arrays and int32 tensors like float32 ones', async (operator) => {
    const floats = run(operator, (x) => tf.tensor(x));
    const arrays = run(operator, (x) => x);
    const ints = run(operator, (x) => tf.tensor(x, undefined, 'int32'));
    expect([arrays.dtype, ints.dtype]).toEqual(['float32', 'float32']);
    expect(await arrays.data()).toEqual(await floats.data());
    expect(await ints.data()).toEqual(await floats.data());
  });

  test('bool inputs are zeros and ones', async () => {
    const bool = tf.tensor([[[1, 0], [1, 1], [0, 1]]], undefined, 'bool'); // prettier-ignore
    const float = tf.cast(bool, 'float32');
    const out = softmaxAttention(bool, bool, bool);
    expect(out.dtype).toBe('float32');
    expect(await out.data()).toEqual(await softmaxAttention(float, float, float).data());
  });

  test('an int32 mask is a mask, an int32 bias and ridge are numbers', async () => {
    const mask = [[1, 1, 0, 1, 0], [1, 0, 1, 1, 1]]; // prettier-ignore
    const options = { keyBias: [[0, 1, 2, 3, 1], [1, 1, 0, 2, 0]], ridge: [1, 2, 3, 4] }; // prettier-ignore
    const a = localLinearAttention(query, key, value, { ...options, keyMask: tf.tensor(mask, undefined, 'bool') });
    const b = localLinearAttention(query, key, value, {
      keyMask: tf.tensor(mask, undefined, 'int32'),
      keyBias: tf.tensor(options.keyBias, undefined, 'int32'),
      ridge: tf.tensor(options.ridge, undefined, 'int32'),
    });
    expect(await b.data()).toEqual(await a.data());
  });

  test.each(operators)("%s: precision 'fast' holds the same bars here", async (operator) => {
    const call: Call = {
      operator,
      options: {},
      tensors: {
        query: new Random(1).normals([2, 9, 4]),
        key: new Random(2).normals([2, 9, 4]),
        value: new Random(3).normals([2, 9, 4]),
        ...(operator === 'parallaxAttention' && { probe: new Random(4).normals([2, 9, 4]) }),
      },
    };
    const high = apply(call, tensorsOf(call));
    const fast = apply({ ...call, options: { precision: 'fast' } }, tensorsOf(call));
    const [actual, expected] = [await fast.data(), await high.data()];
    // CUDA kernels multiply in half precision; elsewhere it has no effect.
    if (backend === 'tensorflow' && cudaOperations()) expect(relativeL2(actual, expected)).toBeLessThan(1e-3);
    else expect(actual).toEqual(expected);
  });

  test('an undefined option is a default', async () => {
    const a = localLinearAttention(query, key, value);
    const b = localLinearAttention(query, key, value, { ridge: undefined, causal: undefined, keyMask: undefined });
    expect(await b.data()).toEqual(await a.data());
  });

  test('rank 3 is rank 4 with one head', async () => {
    const lift = (x: Nested) => tf.expandDims(tf.tensor(x), 1);
    const a = localLinearAttention(query, key, value, { causal: true, ridge: [1, 2, 3, 4] });
    const b = localLinearAttention(lift(query), lift(key), lift(value), { causal: true, ridge: [1, 2, 3, 4] });
    expect(b.shape).toEqual([2, 1, 4, 2]);
    expect(await b.data()).toEqual(await a.data());
  });
});
