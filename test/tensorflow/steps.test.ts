/** Native steps of caches, which write into the caches' tensors where TensorFlow has them, against those of backend `cpu`. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { findKernel } from '../../src/registry.js';
import { operatorSpecs } from '../../src/operators.js';
import { type Backend, cudaOperations, useBackend } from '../backends.js';
import { cacheFor, callOf, type Extras, isScored, stepOver } from '../cache_calls.js';
import { operators } from '../cases.js';
import { tensorsOf } from '../run_call.js';
import type { Call, Operator, PlainOptions } from '../values.js';

interface Variant extends Extras {
  readonly window?: number;
  readonly capacity?: number;
  readonly options?: PlainOptions;
  /** Makes numbers of the call unusable. */
  readonly spoilt?: boolean;
}

const TOKENS = 42;
/** Numbers of tokens, of many at once too; the first cache is cloned after three of these steps. */
const STEPS = [5, 1, 7, 1, 3, 18, 2, 5];

const variants: Readonly<Record<string, Variant>> = {
  plain: {},
  'a capacity that grows': { capacity: 4 },
  'mask, bias and ridge': { keyMask: true, keyBias: true, ridge: true },
  'a window': { window: 6 },
  'a window of one, mask and bias': { window: 1, keyMask: true, keyBias: true },
  'numbers that are not finite': { spoilt: true, keyMask: true },
};

const solvers: Readonly<Record<string, Variant>> = {
  'the direct solver': { options: { solver: 'direct', ridge: 1e-3 } },
  'conjugate gradient': { options: { solver: 'conjugateGradient', tolerance: 1e-6 }, ridge: true },
  'many channels': { options: { solver: 'auto' } },
};

function callFor(operator: Operator, variant: Variant): Call {
  const sizes = variant === solvers['many channels'] ? { lead: [1, 2], D: 37, Dv: 19 } : { lead: [2, 2], D: 6, Dv: 5 };
  const call = callOf(operator, TOKENS, 17, variant, sizes);
  const { query, key, value } = call.tensors;
  const spoil = ({ shape, data }: typeof query, at: number) => ({
    shape,
    data: Array.from(data, (x, i) => (i === at ? NaN : x)),
  });
  const tensors = { ...call.tensors, query: spoil(query, 50), key: spoil(key, 95), value: spoil(value, 340) };
  return { ...call, ...(variant.spoilt && { tensors }), options: { ...call.options, ...variant.options } };
}

/** All that the steps of a cache, of its clone and after a truncation give on a backend. */
async function play(backend: Backend, call: Call, { window, capacity }: Variant): Promise<Float32Array[]> {
  if (backend === 'cpu') await tf.setBackend('cpu');
  else await useBackend(backend);
  const tensors = tensorsOf(call);
  const before = tf.memory().numTensors;
  const settings = { ...(window !== undefined && { window }), ...(capacity !== undefined && { capacity }) };
  let cache = cacheFor(call, settings);
  const outs: tf.Tensor[] = [];
  let from = 0;
  for (const [i, t] of STEPS.entries()) {
    outs.push(stepOver(cache, call, tensors, from, from + t));
    from += t;
    if (i === 2) {
      // Two caches go their own ways: what one writes the other must not see.
      const copy = cache.clone();
      outs.push(stepOver(cache, call, tensors, 0, 3));
      if (isScored(call.operator) && window === undefined) {
        cache.truncate(4);
        outs.push(stepOver(cache, call, tensors, 9, 11));
      }
      cache.dispose();
      cache = copy;
    }
  }
  cache.dispose();
  expect(tf.memory().numTensors).toBe(before + outs.length);
  const read = [...outs, ...Object.values(tensors)].map(async (x) => Float32Array.from(await x.data()));
  const arrays = await Promise.all(read);
  tf.dispose([outs, tensors]);
  return arrays;
}

const cases = operators.flatMap((operator) =>
  Object.entries(operator === 'localLinearAttention' ? { ...variants, ...solvers } : variants)
    .filter(([, { window }]) => window === undefined || isScored(operator))
    .map(([name, variant]) => [operator, name, variant] as const),
);

test.each(cases)('%s: %s', async (operator, _, variant) => {
  const call = callFor(operator, variant);
  const expected = await play('cpu', call, variant);
  const actual = await play('tensorflow', call, variant);
  // The processor's kernels compute in double.
  const bar = cudaOperations() === undefined ? 1e-5 : 1e-4;
  // The inputs come last: no step may have written into them.
  expect(actual).toHaveLength(expected.length);
  const pairs = actual.map((array, i) => Array.from(array, (x, j) => [x, expected[i][j]] as const));
  for (const array of pairs) {
    const norm = Math.sqrt(array.reduce((sum, [, y]) => sum + (Number.isNaN(y) ? 0 : y * y), 0));
    for (const [x, y] of array)
      expect(Math.abs(x - y) <= bar * norm || (Number.isNaN(x) && Number.isNaN(y))).toBe(true);
  }
});

test('every operator has a native step', async () => {
  await useBackend('tensorflow');
  for (const { kernelName } of operatorSpecs) expect(findKernel(`${kernelName}Step`, 'tensorflow')).toBeDefined();
});

test('a step writes into the tensors that the cache has', async () => {
  await useBackend('tensorflow');
  const call = callOf('softmaxAttention', TOKENS, 3);
  const tensors = tensorsOf(call);
  const cache = cacheFor(call);
  stepOver(cache, call, tensors, 0, 5).dispose();
  const { numTensors, numDataBuffers } = tf.memory();
  stepOver(cache, call, tensors, 5, 6).dispose();
  expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers });
  cache.dispose();
  tf.dispose(tensors);
});

/** Steps before memory is looked at, and after: what one of them kept, `BYTES` in each, would show. */
const [FIRST_STEPS, MORE_STEPS] = [500, 2500];
const BYTES = 4 * 32 * 128;

test.each(operators)('%s: thousands of steps keep no memory', async (operator) => {
  await useBackend('tensorflow');
  const call = callOf(operator, TOKENS, 1, {}, { lead: [1, 32], D: 32, Dv: 128 });
  const tensors = tensorsOf(call);
  const cache = cacheFor(call, isScored(operator) ? { window: 64 } : {});
  let out: tf.Tensor = tf.scalar(0);
  const take = async (steps: number) => {
    for (let i = 0; i < steps; i++) {
      out.dispose();
      out = stepOver(cache, call, tensors, i % TOKENS, (i % TOKENS) + 1);
    }
    // On a GPU the steps wait for this.
    expect((await out.data()).every(Number.isFinite)).toBe(true);
    const { numTensors, numDataBuffers } = tf.memory();
    return { numTensors, numDataBuffers, resident: process.memoryUsage.rss() };
  };
  const before = await take(FIRST_STEPS);
  const after = await take(MORE_STEPS);
  expect(after).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
  expect(after.resident - before.resident).toBeLessThan((BYTES * MORE_STEPS) / 2);
  cache.dispose();
  tf.dispose([out, tensors]);
});
