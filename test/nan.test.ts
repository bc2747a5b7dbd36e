import { backends, useBackend } from './backends.js';
import { judge, misses } from './bars.js';
import { operators } from './cases.js';
import { outShape } from './judge.js';
import { Random } from './random.js';
import { runCall } from './run_call.js';
import { withNumbers, withTensors } from './select.js';
import type { Call, Operator, PlainOptions, TensorName } from './values.js';

const scored: readonly Operator[] = ['localLinearAttention', 'softmaxAttention', 'parallaxAttention'];

/** A causal call with more keys than queries; later tiles, earlier rows and the other batch must stay clean. */
function callOf(operator: Operator, Tq: number, Tk: number, options: PlainOptions = { causal: true }): Call {
  const random = new Random(Tq + Tk);
  return {
    operator,
    options,
    tensors: {
      query: random.normals([2, Tq, 6]),
      key: random.normals([2, Tk, 6]),
      value: random.normals([2, Tk, 3]),
      ...(operator === 'parallaxAttention' && { probe: random.normals([2, Tq, 6]) }),
    },
  };
}

/** Runs a call with its gradients; the arrays that miss their bars or have a NaN where the reference has none. */
async function missesOf(call: Call, cotangent?: ArrayLike<number>): Promise<string[]> {
  const judged = judge(call, cotangent);
  return misses(call, judged, await runCall(call, judged.dout));
}

/** The numbers that fill row `row` of an array of rows of `width`, for `withNumbers`. */
function wholeRow(row: number, width: number, number: number): Record<number, number> {
  return Object.fromEntries(Array.from({ length: width }, (_, d) => [row * width + d, number]));
}

/** For every row of `width` numbers, whether all of them are finite. */
function cleanRows(x: ArrayLike<number>, width: number): boolean[] {
  const row = (i: number) => Array.from({ length: width }, (_, d) => x[i * width + d]);
  return Array.from({ length: x.length / width }, (_, i) => row(i).every(Number.isFinite));
}

describe.each(backends)('NaN on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(operators)('%s', (operator) => {
    const call = callOf(operator, 33, 41);
    const inputs: readonly TensorName[] = [
      'query',
      'key',
      'value',
      ...(call.tensors.probe ? (['probe'] as const) : []),
    ];

    test.each(inputs)('in a row of %s stays in the rows that see it', async (name) => {
      const width = name === 'value' ? 3 : 6;
      expect(await missesOf(withNumbers(call, name, wholeRow(17, width, NaN)))).toEqual([]);
    });

    test.each(inputs)('in one number of %s reaches no row and no key that does not see it', async (name) => {
      const width = name === 'value' ? 3 : 6;
      const dirty = withNumbers(call, name, { [17 * width + 1]: NaN });
      const judged = judge(dirty);
      const { out, gradients } = await runCall(dirty, judged.dout);
      // A row may lose all of its numbers with one of them, but only where the reference loses one.
      expect(cleanRows(out, 3)).toEqual(cleanRows(judged.out, 3));
      for (const [input, expected] of Object.entries(judged.gradients)) {
        const columns = input === 'value' ? 3 : 6;
        const actual = cleanRows(gradients[input as TensorName] ?? [], columns);
        const lost = cleanRows(expected, columns).map((clean, row) => clean && !actual[row]);
        expect([input, lost.indexOf(true)]).toEqual([input, -1]);
      }
    });

    test('in a row of the cotangent reaches no other row', async () => {
      const dout = Float64Array.from(new Random(3).normals(outShape(call)).data);
      expect(await missesOf(call, dout.fill(NaN, 11 * 3, 12 * 3))).toEqual([]);
    });

    test.each([NaN, Infinity])('a hidden key of %p is never seen', async (bad) => {
      const data = Array.from({ length: 82 }, (_, j) => (j % 7 === 3 ? 0 : 1));
      const hidden = withTensors(call, { keyMask: { shape: [2, 41], data } });
      const keys = withNumbers(hidden, 'key', { ...wholeRow(3, 6, bad), [45 * 6]: bad });
      expect(await missesOf(withNumbers(keys, 'value', { ...wholeRow(10, 3, bad), [73 * 3]: bad }))).toEqual([]);
    });

    test('in a row that sees no key: zeros and no gradient', async () => {
      const short = withNumbers(callOf(operator, 9, 4), 'query', { 7: NaN });
      const ridge = { shape: [9], data: Array.from({ length: 9 }, (_, row) => (row === 2 ? NaN : 1)) };
      expect(await missesOf(withTensors(short, operator === 'localLinearAttention' ? { ridge } : {}))).toEqual([]);
    });
  });

  test.each(scored)('%s: a key that a bias of -Infinity hides is never seen', async (operator) => {
    const call = callOf(operator, 12, 20);
    const data = Array.from({ length: 40 }, (_, j) => (j % 5 === 2 || j >= 30 ? -Infinity : 0.1 * j));
    const hidden = withTensors(call, { keyBias: { shape: [2, 20], data } });
    expect(await missesOf(hidden)).toEqual([]);
    const keys = withNumbers(hidden, 'key', { ...wholeRow(2, 6, NaN), [35 * 6]: Infinity });
    expect(await missesOf(withNumbers(keys, 'value', { [7 * 3]: NaN, [12 * 3]: Infinity }))).toEqual([]);
  });

  test.each(scored)('%s: a NaN in the key bias', async (operator) => {
    const call = withTensors(callOf(operator, 12, 20), { keyBias: new Random(9).normals([2, 20]) });
    expect(await missesOf(withNumbers(call, 'keyBias', { 13: NaN }))).toEqual([]);
  });

  describe.each([0, -1, NaN, Infinity, -Infinity])('a ridge of %p in a tensor', (bad) => {
    test.each(['auto', 'direct', 'conjugateGradient'] as const)('localLinearAttention, %s', async (solver) => {
      const call = callOf('localLinearAttention', 33, 41, { causal: true, solver });
      const data = Array.from({ length: 66 }, (_, row) => (row === 4 || row === 60 ? bad : 0.5));
      expect(await missesOf(withTensors(call, { ridge: { shape: [2, 33], data } }))).toEqual([]);
    });

    test('mesaAttention', async () => {
      const random = new Random(4);
      const [query, key, value] = [12, 20, 20].map((T) => random.normals([1, 2, T, 6]));
      const ridge = { shape: [2, 6], data: Array.from({ length: 12 }, (_, i) => (i === 8 ? bad : 1)) };
      const tensors = { query, key, value, ridge };
      expect(await missesOf({ operator: 'mesaAttention', options: {}, tensors })).toEqual([]);
    });
  });
});
