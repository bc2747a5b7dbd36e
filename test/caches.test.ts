import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { attentionCache, type AttentionCache } from '../src/index.js';
import { backends, useBackend } from './backends.js';
import { callOf, cacheFor, expectClose, expected, isScored, read, rowsOf, stepOver } from './cache_calls.js';
import { cacheSuite } from './cache_suite.js';
import { operators } from './cases.js';
import { apply, shortName, tensorsOf } from './run_call.js';
import { relativeL2 } from './values.js';

/** A GPU simulated in software takes a minute to compile for all of it, and half a millisecond for each step. */
const isShort = backends.includes('webgpu') && process.env.TFJS_LLA_TEST !== 'full';

for (const backend of backends) cacheSuite(backend, () => useBackend(backend), isShort ? 'part' : 'all');

describe.each(backends)('memory of caches on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(operators)('%s: a step leaves its result, a cache its tensors until it is disposed', (operator) => {
    const call = callOf(operator, 9, 1, { keyMask: true, keyBias: true, ridge: true });
    const tensors = tensorsOf(call);
    const { numTensors, numBytes } = tf.memory();
    const cache = cacheFor(call, { capacity: 2 });
    tf.tidy(() => {
      stepOver(cache, call, tensors, 0, 2);
    });
    const held = tf.memory();
    expect([held.numTensors - numTensors, held.numBytes - numBytes]).toEqual([3, cache.byteSize]);
    const outs = [stepOver(cache, call, tensors, 2, 3), stepOver(cache, call, tensors, 3, 9)];
    expect(tf.memory().numTensors).toBe(numTensors + 5);
    cache.reorder([0, 0]);
    const copy = cache.clone();
    expect(tf.memory().numTensors).toBe(numTensors + 8);
    expect(tf.memory().numBytes - numBytes).toBe(2 * cache.byteSize + 4 * (outs[0].size + outs[1].size));
    for (const x of [cache, copy]) x.dispose();
    cache.dispose();
    tf.dispose(outs);
    expect([tf.memory().numTensors, tf.memory().numBytes]).toEqual([numTensors, numBytes]);
    tf.dispose(tensors);
  });
});

/** Backends whose steps write in place. Composed steps make new tensors at every step. */
const inPlace = backends.filter((backend) => backend !== 'wasm');

const STEPS = isShort ? 2000 : 10_000;

describe.each(inPlace)(`${String(STEPS)} steps on %s`, (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(operators)('%s: memory stays flat, and the last rows are right', async (operator) => {
    const window = 16;
    const call = callOf(operator, 64, 2, {}, { lead: [1], D: 2, Dv: 2 });
    const tensors = tensorsOf(call);
    const cache = cacheFor(call, isScored(operator) ? { window } : {});
    stepOver(cache, call, tensors, 0, 1).dispose();
    const { numTensors, numBytes } = tf.memory();
    const onDevice = (): unknown => (tf.memory() as tf.MemoryInfo & { numBytesInGPU?: number }).numBytesInGPU;
    let onDeviceBefore: unknown;
    let last = stepOver(cache, call, tensors, 1, 2);
    for (let step = 2; step < STEPS; step++) {
      last.dispose();
      last = stepOver(cache, call, tensors, step % 64, (step % 64) + 1);
      // A device's queue is not made for thousands of calls that nobody waits for.
      if (step % 500 !== 0) continue;
      await last.data();
      if (step === 500) onDeviceBefore = onDevice();
    }
    const after = tf.memory();
    expect([after.numTensors - numTensors, after.numBytes - numBytes]).toEqual([1, 4 * 2]);
    expect(onDevice()).toBe(onDeviceBefore);
    // These are the last 16 tokens, all within one round of 64; linear and mesa attention have seen all of them.
    if (isScored(operator)) {
      const full = await expected(callOf(operator, 64, 2, {}, { lead: [1], D: 2, Dv: 2 }));
      await expectClose(last, rowsOf(full, (STEPS - 1) % 64, ((STEPS - 1) % 64) + 1));
    } else {
      const repeated = tf.tidy(() => {
        const long = Object.entries(tensors).map(([name, x]) => {
          const times = Array.from({ length: Math.ceil(STEPS / 64) }, () => x);
          return [name, tf.slice(tf.concat(times, 1), [0, 0, 0], [1, STEPS, 2])];
        });
        const all = Object.fromEntries(long) as typeof tensors;
        const { query } = all;
        if (!query) throw new Error('the call has no query');
        return apply(call, { ...all, query: tf.slice(query, [0, STEPS - 1, 0], [1, 1, 2]) });
      });
      const { out, shape } = await read(repeated);
      await expectClose(last, { data: out, shape });
    }
    cache.dispose();
    tf.dispose(tensors);
  });
});

/** One operation on a cache. */
type Operation =
  | { readonly kind: 'step'; readonly t: number }
  | { readonly kind: 'truncate'; readonly part: number }
  | { readonly kind: 'reorder'; readonly order: readonly number[] }
  | { readonly kind: 'clone' };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('step' as const), t: fc.integer({ min: 1, max: 6 }) }) },
  fc.record({ kind: fc.constant('truncate' as const), part: fc.double({ min: 0, max: 1, noNaN: true }) }),
  fc.record({
    kind: fc.constant('reorder' as const),
    order: fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 2, maxLength: 2 }),
  }),
  fc.record({ kind: fc.constant('clone' as const) }),
);

describe.each(backends)('any sequence of operations on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(operators)('%s gives what the tokens that are left give', async (operator) => {
    const call = callOf(operator, 60, 3, {}, { lead: [2], D: 3, Dv: 2 });
    const tensors = tensorsOf(call);
    const all = Object.entries(tensors);
    const run = async (operations: readonly Operation[]): Promise<void> => {
      let cache: AttentionCache = cacheFor(call, { capacity: 4 });
      // The model: which entry and which token each row of the cache came from.
      let held: { entry: number; token: number }[][] = [[], []];
      let token = 0;
      for (const op of operations) {
        const length = held[0].length;
        if (op.kind === 'step' && token + op.t <= 60) {
          const added = Array.from({ length: op.t }, (_, i) => token + i);
          held = held.map((rows, entry) => [...rows, ...added.map((index) => ({ entry, token: index }))]);
          const actual = stepOver(cache, call, tensors, token, token + op.t);
          token += op.t;
          const wanted = tf.tidy(() => {
            const row = (x: tf.Tensor, entry: number, index: number) => tf.slice(x, [entry, index, 0], [1, 1, -1]);
            const of = (x: tf.Tensor) =>
              tf.concat(
                held.map((rows) =>
                  tf.concat(
                    rows.map((from) => row(x, from.entry, from.token)),
                    1,
                  ),
                ),
              );
            return apply(call, Object.fromEntries(all.map(([name, x]) => [name, of(x)])));
          });
          await expectClose(actual, rowsOf(await read(wanted), length, length + op.t));
        } else if (op.kind === 'truncate' && isScored(operator)) {
          const left = Math.floor(op.part * length);
          cache.truncate(left);
          held = held.map((rows) => rows.slice(0, left));
        } else if (op.kind === 'reorder' && token > 0) {
          cache.reorder(op.order);
          held = op.order.map((entry) => held[entry]);
        } else if (op.kind === 'clone') {
          const copy = cache.clone();
          cache.dispose();
          cache = copy;
        }
        expect(cache.length).toBe(held[0].length);
      }
      cache.dispose();
    };
    const before = tf.memory().numTensors;
    await fc.assert(fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 12 }), run), { numRuns: 15 });
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose(tensors);
  });
});

test('a constant ridge is kept by the cache, whatever happens to the tensor', async () => {
  await useBackend('cpu');
  const call = callOf('localLinearAttention', 6, 4);
  const tensors = tensorsOf(call);
  const ridge = tf.scalar(0.3);
  const cache = attentionCache(shortName(call.operator) as 'localLinear', { ridge });
  const { out } = await read(apply(call, { ...tensors, ridge }));
  ridge.dispose();
  const copy = cache.clone();
  cache.dispose();
  expect(relativeL2((await read(stepOver(copy, call, tensors, 0, 6))).out, out)).toBeLessThan(1e-6);
  copy.dispose();
});
