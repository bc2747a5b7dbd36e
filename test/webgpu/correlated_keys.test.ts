/** Local linear attention on keys of unlike channels with a mean, whose covariance has one direction far above the others. */
import * as tf from '@tensorflow/tfjs-core';
import { headData } from '../../scripts/bench/data.js';
import { outputRow } from '../../scripts/bench/references.js';
import { localLinearAttention } from '../../src/index.js';
import { useBackend } from '../backends.js';
import { relativeL2 } from '../values.js';

beforeAll(() => useBackend('webgpu'));

/** Relative error of every fourth output of a head, where rows see enough keys. */
async function errorAt(tolerance: number): Promise<number> {
  const [n, dim] = [512, 64];
  const correlation = { spectrum: 1, mean: 1 };
  const one = { heads: 1, queries: n, keys: n, dim, correlation, ridge: 1, causal: true } as const;
  const rows = Array.from({ length: n / 8 }, (_, i) => n / 2 + 4 * i);
  const expected = rows.flatMap((row) => [
    ...outputRow(
      { ...one, operator: 'localLinearAttention', direction: 'forward', limits: 'device' },
      { head: 0, row },
    ),
  ]);
  const out = tf.tidy(() => {
    const tensor = (name: 'query' | 'key' | 'value') => tf.tensor3d(headData(one, name, 0), [1, n, dim]);
    const [query, key, value] = [tensor('query'), tensor('key'), tensor('value')];
    return localLinearAttention(query, key, value, { causal: true, ridge: 1, tolerance });
  });
  const all = await out.data();
  out.dispose();
  const actual = rows.flatMap((row) => [...all.slice(row * dim, (row + 1) * dim)]);
  return relativeL2(actual, expected);
}

test('the last half step of the solver does not undo its iterations', async () => {
  expect(await errorAt(1e-4)).toBeLessThan(3e-4);
});
