/** Caches and steps on one backend, against the operators' own causal calls; for any runner with what jest's globals and jasmine's have in common. */
import * as tf from '@tensorflow/tfjs-core';
import { operators } from './cases.js';
import {
  cacheFor,
  callOf,
  expectClose,
  expected,
  isScored,
  read,
  rowsOf,
  stepOver,
  stepWith,
  tokens,
  type Extras,
} from './cache_calls.js';
import { cacheGradientSuite } from './cache_gradients.js';
import { apply, tensorsOf } from './run_call.js';
import { relativeL2 } from './values.js';

/** How much of the suite to run: all of it, or a part that meets every program, for devices simulated in software. */
export type CacheExtent = 'all' | 'part';

const PREFILLS: Readonly<Record<CacheExtent, readonly number[]>> = { all: [0, 1, 63, 64, 65], part: [0, 65] };
const WINDOWS: Readonly<Record<CacheExtent, readonly number[]>> = { all: [1, 3, 5], part: [3] };

const extras: readonly (readonly [string, Extras])[] = [
  ['a mask', { keyMask: true }],
  ['a bias', { keyBias: true }],
  ['a ridge per row', { ridge: true }],
  ['a mask, a bias and a ridge', { keyMask: true, keyBias: true, ridge: true }],
];

export function cacheSuite(backend: string, start: () => Promise<void>, extent: CacheExtent = 'all'): void {
  describe(`caches on ${backend}`, () => {
    beforeAll(start);

    for (const operator of operators)
      describe(operator, () => {
        for (const prefill of PREFILLS[extent])
          it(`a prefill of ${prefill} tokens, then steps of 1, 3 and 8`, async () => {
            const call = callOf(operator, prefill + 12, prefill);
            const full = await expected(call);
            const tensors = tensorsOf(call);
            const cache = cacheFor(call);
            let from = 0;
            for (const t of [prefill, 1, 3, 8]) {
              if (t === 0) continue;
              await expectClose(stepOver(cache, call, tensors, from, from + t), rowsOf(full, from, from + t));
              from += t;
              expect(cache.length).toBe(from);
            }
            cache.dispose();
            tf.dispose(tensors);
          });

        for (const [name, given] of extent === 'all' ? extras : extras.slice(-1))
          it(name, async () => {
            const call = callOf(operator, 20, 5, given);
            const full = await expected(call);
            const tensors = tensorsOf(call);
            // Not full from the start: a first step without mask and bias has to count as one with zeros.
            const cache = cacheFor(call, { capacity: 8 });
            for (const [from, to] of [
              [0, 7],
              [7, 8],
              [8, 11],
              [11, 20],
            ]) {
              // prettier-ignore
              await expectClose(stepOver(cache, call, tensors, from, to), rowsOf(full, from, to));
            }
            cache.dispose();
            tf.dispose(tensors);
          });

        it('many tokens at once, into an empty cache and into one that holds some', async () => {
          const call = callOf(operator, 250, 13, { keyMask: true, keyBias: true, ridge: true });
          const full = await expected(call);
          const tensors = tensorsOf(call);
          const cache = cacheFor(call, { capacity: 16 });
          for (const [from, to] of [
            [0, 70],
            [70, 75],
            [75, 180],
            [180, 183],
            [183, 250],
          ]) {
            // prettier-ignore
            await expectClose(stepOver(cache, call, tensors, from, to), rowsOf(full, from, to));
          }
          cache.dispose();
          tf.dispose(tensors);
        });

        it('a mask from a later step on, and one more row without', async () => {
          const call = callOf(operator, 9, 6, { keyMask: true });
          const { keyMask } = call.tensors;
          if (!keyMask) throw new Error('the call has no mask');
          const visible = { shape: keyMask.shape, data: Array.from(keyMask.data, (x, i) => (i % 9 < 4 || i % 9 > 6 ? 1 : x)) }; // prettier-ignore
          const masked = { ...call, tensors: { ...call.tensors, keyMask: visible } };
          const full = await expected(masked);
          const tensors = tensorsOf(masked);
          const bare = { ...tensors };
          delete bare.keyMask;
          const cache = cacheFor(call);
          await expectClose(stepOver(cache, call, bare, 0, 4), rowsOf(full, 0, 4));
          await expectClose(stepOver(cache, call, tensors, 4, 7), rowsOf(full, 4, 7));
          await expectClose(stepOver(cache, call, bare, 7, 9), rowsOf(full, 7, 9));
          cache.dispose();
          tf.dispose(tensors);
        });

        it('rank 3, growth from a capacity of 1', async () => {
          // In a part of the suite no further sizes: some devices compile their programs for each.
          const sizes = extent === 'all' ? { lead: [3], D: 4, Dv: 2 } : { lead: [3], D: 6, Dv: 5 };
          const call = callOf(operator, 9, 7, {}, sizes);
          const full = await expected(call);
          const tensors = tensorsOf(call);
          const cache = cacheFor(call, { capacity: 1 });
          for (const [from, to] of [
            [0, 1],
            [1, 2],
            [2, 8],
            [8, 9],
          ]) {
            // prettier-ignore
            await expectClose(stepOver(cache, call, tensors, from, to), rowsOf(full, from, to));
            if (isScored(operator)) expect(cache.capacity).toBe([1, 2, 8, 16][[1, 2, 8, 9].indexOf(to)]);
          }
          cache.dispose();
          tf.dispose(tensors);
        });

        it('a clone goes its own way', async () => {
          const call = callOf(operator, 10, 8, { keyMask: true });
          const full = await expected(call);
          const tensors = tensorsOf(call);
          const cache = cacheFor(call);
          stepOver(cache, call, tensors, 0, 6).dispose();
          const copy = cache.clone();
          // Other tokens into the copy must not reach the first, nor the other way round.
          stepOver(copy, call, tensors, 2, 5).dispose();
          await expectClose(stepOver(cache, call, tensors, 6, 10), rowsOf(full, 6, 10));
          expect([cache.length, copy.length]).toEqual([10, 9]);
          const again = cache.clone();
          cache.dispose();
          expect((await read(stepOver(again, call, tensors, 0, 1))).out.every(Number.isFinite)).toBe(true);
          for (const x of [copy, again]) x.dispose();
          tf.dispose(tensors);
        });

        it('reorder: entries of the first dimension become others', async () => {
          const call = callOf(operator, 8, 9, { keyMask: true });
          const tensors = tensorsOf(call);
          const order = [1, 1];
          const cache = cacheFor(call);
          stepOver(cache, call, tensors, 0, 5).dispose();
          cache.reorder(order);
          const [first, rest] = [tokens(operator, tensors, 0, 5), tokens(operator, tensors, 5, 8)];
          const both = Object.keys(tensors).map((name) => {
            const [a, b] = [first, rest].map((part) => part[name as keyof typeof part] as tf.Tensor);
            return [name, tf.tidy(() => tf.concat([tf.gather(a, order, 0), b], name === 'keyMask' ? 1 : 2))];
          });
          const full = await read(apply(call, Object.fromEntries(both) as typeof first));
          await expectClose(stepWith(cache, rest), rowsOf(full, 5, 8));
          cache.dispose();
          tf.dispose([tensors, first, rest, both.map(([, x]) => x as tf.Tensor)]);
        });

        it('a row that is not finite stays where it is seen', async () => {
          const call = callOf(operator, 6, 10);
          const { key } = call.tensors;
          // Token 3 of the first head.
          const data = Array.from(key.data, (x, i) => (i === 3 * 6 + 1 ? NaN : x));
          const bad = { ...call, tensors: { ...call.tensors, key: { ...key, data } } };
          const full = await expected(bad);
          const tensors = tensorsOf(bad);
          const cache = cacheFor(bad);
          for (const [from, to] of [
            [0, 2],
            [2, 5],
            [5, 6],
          ]) {
            // prettier-ignore
            const { out } = await read(stepOver(cache, bad, tensors, from, to));
            const rows = rowsOf(full, from, to).data;
            expect(Array.from(out, Number.isNaN)).toEqual(Array.from(rows, Number.isNaN));
            const finite = (x: ArrayLike<number>) => Array.from(x).filter(Number.isFinite);
            expect(relativeL2(finite(out), finite(rows))).toBeLessThan(1e-4);
          }
          cache.dispose();
          tf.dispose(tensors);
        });
      });

    for (const operator of operators.filter(isScored))
      describe(operator, () => {
        it('truncate takes tokens back, also across a window', async () => {
          const call = callOf(operator, 12, 11, { keyMask: true });
          const full = await expected(call);
          const tensors = tensorsOf(call);
          const cache = cacheFor(call);
          stepOver(cache, call, tensors, 0, 5).dispose();
          stepOver(cache, call, tensors, 1, 8).dispose();
          cache.truncate(5);
          expect(cache.length).toBe(5);
          await expectClose(stepOver(cache, call, tensors, 5, 8), rowsOf(full, 5, 8));
          cache.truncate(0);
          await expectClose(stepOver(cache, call, tensors, 0, 2), rowsOf(full, 0, 2));
          cache.dispose();
          tf.dispose(tensors);
        });

        it('a window that many tokens fill, then pass', async () => {
          const window = 100;
          const call = callOf(operator, 260, 14, { keyBias: true });
          const full = await expected(call);
          const tensors = tensorsOf(call);
          const cache = cacheFor(call, { window });
          await expectClose(stepOver(cache, call, tensors, 0, 30), rowsOf(full, 0, 30));
          await expectClose(stepOver(cache, call, tensors, 30, 95), rowsOf(full, 30, 95));
          stepOver(cache, call, tensors, 95, 250).dispose();
          const seen = tokens(operator, tensors, 151, 251);
          const own = tokens(operator, tensors, 250, 251);
          const { out: data, shape } = await read(
            tf.tidy(() => apply(call, { ...seen, query: own.query, ...(own.probe && { probe: own.probe }) })),
          );
          await expectClose(stepOver(cache, call, tensors, 250, 251), { data, shape });
          cache.dispose();
          tf.dispose([tensors, seen, own]);
        });

        for (const window of WINDOWS[extent])
          it(`a window of ${window}: each row sees the last tokens, its own among them`, async () => {
            const call = callOf(operator, 20, 12, { keyMask: true, keyBias: true, ridge: true });
            const tensors = tensorsOf(call);
            const cache = cacheFor(call, { window, capacity: 64 });
            let bytes = 0;
            for (const [from, to] of [
              [0, 1],
              [1, 3],
              [3, 11],
              [11, 12],
              [12, 20],
            ]) {
              // prettier-ignore
              const out = stepOver(cache, call, tensors, from, to);
              bytes ||= cache.byteSize;
              expect([cache.length, cache.capacity, cache.byteSize]).toEqual([Math.min(to, window), window, bytes]);
              const rows = tf.tidy(() => {
                const each = Array.from({ length: to - from }, (_, i) => {
                  const row = from + i;
                  const seen = tokens(operator, tensors, Math.max(0, row + 1 - window), row + 1);
                  const own = tokens(operator, tensors, row, row + 1);
                  const { query, probe, ridge } = own;
                  return apply(call, { ...seen, query, ...(probe && { probe }), ...(ridge && { ridge }) });
                });
                return tf.concat(each, 2);
              });
              const { out: data, shape } = await read(rows);
              await expectClose(out, { data, shape });
            }
            cache.dispose();
            tf.dispose(tensors);
          });
      });

    cacheGradientSuite(extent);
  });
}
