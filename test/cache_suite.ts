/** Caches and steps on one backend, against the operators' own causal calls; for any runner with jest's globals. */
import * as tf from '@tensorflow/tfjs-core';
import { operators } from './cases.js';
import { callOf, cacheFor, expectClose, expected, rowsOf, stepOver } from './cache_calls.js';
import { tensorsOf } from './run_call.js';

const PREFILLS = [0, 1, 63, 64, 65];

export function cacheSuite(backend: string, start: () => Promise<void>): void {
  describe(`caches on ${backend}`, () => {
    beforeAll(start);

    describe.each(operators)('%s', (operator) => {
      test.each(PREFILLS)('a prefill of %i tokens, then steps of 1, 3 and 8', async (prefill) => {
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
    });
  });
}
