import * as tf from '@tensorflow/tfjs-core';
import { attentionCache, type AttentionCache } from '../src/index.js';
import { useBackend } from './backends.js';
import { callOf, cacheFor, expectClose, expected, isScored, rowsOf, stepOver } from './cache_calls.js';
import { operators } from './cases.js';
import { Random } from './random.js';
import { shortName, tensorsOf, toTensor } from './run_call.js';
import type { Operator } from './values.js';

// Only arguments that the types refuse go through here, as a caller without types would pass them.
const untyped = attentionCache as (...args: unknown[]) => AttentionCache;

function normals(...shape: number[]): tf.Tensor {
  return toTensor(new Random(1).normals(shape));
}

/** Expects an error that names operator and argument and prints what was given. */
function expectError(operator: string, argument: string, given: readonly string[], run: () => unknown): void {
  let message = '';
  tf.tidy(() => {
    try {
      run();
    } catch (error) {
      message = (error as Error).message;
    }
  });
  expect(message).toContain(`${operator}: ${argument}`);
  for (const text of given) expect(message).toContain(text);
}

describe.each(operators)('a cache of %s refuses', (operator) => {
  beforeAll(async () => {
    await useBackend('wasm');
    await useBackend('cpu');
  });

  const call = callOf(operator, 8, 1);
  let tensors: ReturnType<typeof tensorsOf>;
  let cache: AttentionCache;

  beforeEach(() => {
    tensors = tensorsOf(call);
    cache = cacheFor(call, { capacity: 6, grow: false });
    stepOver(cache, call, tensors, 0, 3).dispose();
  });

  /** The cache holds what it held, and nothing is left of the step that failed. */
  async function expectUnchanged(run: () => void): Promise<void> {
    const { numTensors, numBytes } = tf.memory();
    const [length, capacity, bytes] = [cache.length, cache.capacity, cache.byteSize];
    tf.tidy(run);
    expect([tf.memory().numTensors, tf.memory().numBytes]).toEqual([numTensors, numBytes]);
    expect([cache.length, cache.capacity, cache.byteSize]).toEqual([length, capacity, bytes]);
    await expectClose(stepOver(cache, call, tensors, 3, 6), rowsOf(await expected(call), 3, 6));
    cache.dispose();
    tf.dispose(tensors);
  }

  const probe = (...shape: number[]) => (operator === 'parallaxAttention' ? { probe: normals(...shape) } : {});

  test('other heads, dimensions or rank than it holds', () =>
    expectUnchanged(() => {
      const step = (query: number[], key: number[], value: number[]) => () =>
        cache.step(normals(...query), normals(...key), normals(...value), probe(...query));
      expectError(operator, 'query', ['[2,3,1,6]', '[2,2,1,6]'], step([2, 3, 1, 6], [2, 3, 1, 6], [2, 3, 1, 5]));
      expectError(operator, 'query', ['[2,2,1,7]'], step([2, 2, 1, 7], [2, 2, 1, 7], [2, 2, 1, 5]));
      expectError(operator, 'value', ['[2,2,1,4]'], step([2, 2, 1, 6], [2, 2, 1, 6], [2, 2, 1, 4]));
      expectError(operator, 'query', ['[4,1,6]'], step([4, 1, 6], [4, 1, 6], [4, 1, 5]));
      expectError(operator, 'key', ['2'], step([2, 2, 1, 6], [2, 2, 2, 6], [2, 2, 2, 5]));
      expectError(operator, 'query', ['[6]'], step([6], [6], [5]));
    }));

  test('options that a step does not have', () =>
    expectUnchanged(() => {
      const step = (options: object) => () =>
        cache.step(normals(2, 2, 1, 6), normals(2, 2, 1, 6), normals(2, 2, 1, 5), options);
      expectError(operator, 'causal', ['keyMask'], step({ causal: true }));
      expectError(operator, 'scale', [], step({ scale: 1 }));
      expectError(operator, 'keyMask', ['3, 1'], step({ ...probe(2, 2, 1, 6), keyMask: [[true], [true], [true]] }));
      if (operator === 'parallaxAttention') expectError(operator, 'probe', ['missing'], step({}));
      if (!isScored(operator)) expectError(operator, 'keyBias', [], step({ keyBias: [[1], [1]] }));
      if (operator === 'localLinearAttention') expectError(operator, 'ridge', ['-1'], step({ ridge: -1 }));
    }));

  test('indices that reorder cannot follow', () =>
    expectUnchanged(() => {
      for (const [indices, given] of [
        [[0], '1'],
        [[0, 2], '2'],
        [[0, -1], '-1'],
        [[0, 0.5], '0.5'],
        [[0, NaN], 'NaN'],
      ] as const) {
        expectError(operator, 'reorder', [given], () => cache.reorder(indices));
      }
    }));

  test('a truncation that it cannot do', () =>
    expectUnchanged(() => {
      if (!isScored(operator)) expectError(operator, 'truncate', ['cannot forget'], () => cache.truncate(1));
      else
        for (const n of [4, -1, 1.5, NaN]) expectError(operator, 'truncate', [String(n), '3'], () => cache.truncate(n));
    }));

  test('another backend than its tensors are on', () =>
    expectUnchanged(() => {
      void tf.setBackend('wasm');
      const q = normals(2, 2, 1, 6);
      const step = () => cache.step(q, q, normals(2, 2, 1, 5), probe(2, 2, 1, 6));
      expectError(operator, 'step', ["'cpu'", "'wasm'"], step);
      void tf.setBackend('cpu');
      q.dispose();
    }));

  test('a step whose kernel throws', () =>
    expectUnchanged(() => {
      const kernelName = tf.getKernelsForBackend('cpu').find(({ kernelName: name }) => name === kernelOf(operator));
      if (!kernelName) throw new Error('there is no such kernel');
      tf.unregisterKernel(kernelOf(operator), 'cpu');
      const thrower = () => {
        throw new Error('out of memory');
      };
      tf.registerKernel({ kernelName: kernelOf(operator), backendName: 'cpu', kernelFunc: thrower });
      // With a mask, so that a bias would have been made.
      const options = { ...probe(2, 2, 1, 6), keyMask: [[true], [false]] };
      const step = () => cache.step(normals(2, 2, 1, 6), normals(2, 2, 1, 6), normals(2, 2, 1, 5), options);
      expect(() => tf.tidy(() => void step())).toThrow('out of memory');
      tf.unregisterKernel(kernelOf(operator), 'cpu');
      tf.registerKernel(kernelName);
    }));

  test('more tokens than there is room for, where it may not grow', () =>
    expectUnchanged(() => {
      if (!isScored(operator)) return;
      expectError(operator, 'capacity', ['6', '4', 'grow'], () => stepOver(cache, call, tensors, 3, 7));
    }));

  test('everything once it is disposed', () => {
    cache.dispose();
    expect([cache.isDisposed, cache.byteSize]).toEqual([true, 0]);
    expectError(operator, 'step', ['disposed'], () => stepOver(cache, call, tensors, 3, 4));
    expectError(operator, 'truncate', ['disposed'], () => cache.truncate(0));
    expectError(operator, 'reorder', ['disposed'], () => cache.reorder([0, 1]));
    expectError(operator, 'clone', ['disposed'], () => cache.clone());
    cache.dispose();
    tf.dispose(tensors);
  });

  test('options of another kind', () => {
    const name = shortName(operator);
    for (const [option, value] of [
      ['causal', true],
      ['keyMask', [[true]]],
      ['capacity', 0],
      ['capacity', 1.5],
      ['grow', 1],
      ['window', 0],
      ['casual', true],
    ]) {
      expectError(operator, String(option), [], () => untyped(name, { [String(option)]: value }));
    }
    if (!isScored(operator)) expectError(operator, 'window', ['not available'], () => untyped(name, { window: 4 }));
    expectError(operator, 'options', ['null'], () => untyped(name, null));
    expectError(operator, 'reorder', ['no token'], () => untyped(name).reorder([0]));
    cache.dispose();
    tf.dispose(tensors);
  });
});

/** The name of an operator's step among the kernels. */
function kernelOf(operator: Operator): string {
  return `${operator[0].toUpperCase()}${operator.slice(1)}Step`;
}

test('an unknown operator', () => {
  expectError('attentionCache', 'operator', ['attention'], () => untyped('attention'));
});
