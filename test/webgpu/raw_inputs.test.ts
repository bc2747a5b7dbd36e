/** Softmax attention of keys and values that no pass has prepared: as wide as prepared ones, in whole tiles. */
import * as tf from '@tensorflow/tfjs-core';

import { recordShaders } from '../../kernels/common/webgpu/call.js';
import { softmaxAttention } from '../../src/index.js';
import { initBackend } from '../../src/node.js';
import { Random } from '../random.js';

const HEADS = 2;

interface Sizes {
  readonly Tq: number;
  readonly Tk: number;
  readonly D: number;
}

beforeAll(async () => {
  await initBackend('webgpu');
});

const isFinite = (numbers: readonly number[]): boolean => numbers.every(Number.isFinite);

/** The definition in float64; a row that has or sees what is not finite is NaN. */
function expectedRow(query: number[], keys: number[][], values: number[][]): number[] {
  const { length } = query;
  if (keys.length === 0) return new Array<number>(length).fill(0);
  if (![query, ...keys, ...values].every(isFinite)) return new Array<number>(length).fill(NaN);
  const scores = keys.map((key) => key.reduce((sum, k, d) => sum + k * query[d], 0) / Math.sqrt(query.length));
  const top = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return query.map((_, e) => weights.reduce((sum, weight, j) => sum + weight * values[j][e], 0) / total);
}

const rowsOf = (numbers: ArrayLike<number>, head: number, T: number, D: number): number[][] =>
  Array.from({ length: T }, (_, i) => Array.from({ length: D }, (__, d) => numbers[(head * T + i) * D + d]));

type Name = 'query' | 'key' | 'value';

async function check(
  { Tq, Tk, D }: Sizes,
  causal: boolean,
  bad: readonly (readonly [Name, number, number])[],
): Promise<void> {
  const random = new Random(Tq + Tk + D);
  const numbers = {
    query: Float32Array.from(random.normals([HEADS, Tq, D]).data),
    key: Float32Array.from(random.normals([HEADS, Tk, D]).data),
    value: Float32Array.from(random.normals([HEADS, Tk, D]).data),
  };
  for (const [name, at, number] of bad) numbers[name][at] = number;
  const tensor = (name: Name, T: number) => tf.tensor3d(numbers[name], [HEADS, T, D]);
  const inputs = [tensor('query', Tq), tensor('key', Tk), tensor('value', Tk)] as const;
  const call = () => tf.tidy(() => softmaxAttention(...inputs, { causal }));
  const shaders = recordShaders(() => call().dispose()).map(({ key }) => key.split(' ')[0]);
  expect(shaders).toEqual(['checkedInputs', 'probeAttention']);
  const out = call();
  const actual = await out.data();
  for (let head = 0; head < HEADS; head++) {
    const [queries, keys, values] = [
      rowsOf(numbers.query, head, Tq, D),
      rowsOf(numbers.key, head, Tk, D),
      rowsOf(numbers.value, head, Tk, D),
    ];
    queries.forEach((query, i) => {
      const bound = causal ? Math.max(0, Tk - Tq + i + 1) : Tk;
      const expected = expectedRow(query, keys.slice(0, bound), values.slice(0, bound));
      expected.forEach((x, e) => {
        const y = actual[(head * Tq + i) * D + e];
        if (Number.isNaN(x)) expect(y).toBeNaN();
        else expect(Math.abs(y - x)).toBeLessThan(1e-5);
      });
    });
  }
  tf.dispose([out, ...inputs]);
}

const square = { Tq: 128, Tk: 128, D: 64 };

test.each([
  ['full', square, false],
  ['causal', square, true],
  ['fewer queries than keys', { Tq: 70, Tk: 192, D: 32 }, true],
  ['rows that see no key', { Tq: 130, Tk: 64, D: 32 }, true],
] as const)('%s', async (_, sizes, causal) => {
  await check(sizes, causal, []);
});

const at = (head: number, row: number, d: number): number => (head * square.Tk + row) * square.D + d;

test.each([
  ['a query that is not finite', [['query', at(0, 5, 3), NaN]]],
  ['a key that is infinite', [['key', at(0, 70, 9), -Infinity]]],
  ['a value that is not a number, the first', [['value', at(1, 0, 0), NaN]]],
  [
    'several, in the last tile',
    [
      ['key', at(1, 127, 63), NaN],
      ['value', at(1, 100, 1), Infinity],
      ['query', at(1, 3, 0), Infinity],
    ],
  ],
] as const)('%s', async (_, bad) => {
  await check(square, true, bad);
});
