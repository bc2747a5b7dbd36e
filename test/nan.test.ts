import { visibleKeys } from '../kernels/common/dims.js';
import { backends, useBackend } from './backends.js';
import { judge, type Judged, misses } from './bars.js';
import { operators } from './cases.js';
import { dimsOf, type Gradients, outShape } from './judge.js';
import { Random } from './random.js';
import { runCall } from './run_call.js';
import { withNumbers, withTensors } from './select.js';
import type { Call, Operator, PlainOptions, TensorName } from './values.js';

/** What a call gives. */
interface Result {
  readonly out: ArrayLike<number>;
  readonly gradients: Gradients;
}

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
  const result = await runCall(call, judged.dout);
  const { Dv } = dimsOf(call);
  const lost = cleanRows(result.out, Dv).map((clean, row) => clean !== cleanRows(judged.out, Dv)[row]);
  return [...misses(call, judged, forgive(call, judged, result)), ...(lost.includes(true) ? ['rows of out'] : [])];
}

/**
 * A row that is NaN, or whose cotangent is, is lost whole, with its own gradients and those of every key that it sees
 * (docs/decisions/0002). Those numbers are taken for right here; all others must be as the reference has them.
 */
function forgive(call: Call, judged: Judged, result: Result): Result {
  const dims = dimsOf(call);
  const { heads, Tq, Tk, Dv } = dims;
  const clean = cleanRows(judged.out, Dv).map((isClean, row) => isClean && cleanRows(judged.dout, Dv)[row]);
  const bounds = Array.from({ length: heads }, (_, head) =>
    Math.max(0, ...Array.from({ length: Tq }, (__, i) => (clean[head * Tq + i] ? 0 : bound(call, i)))),
  );
  const isForgiven = (name: string, i: number, size: number): boolean => {
    if (name === 'out' || name === 'query' || name === 'probe') return !clean[Math.floor((i * heads * Tq) / size)];
    if (name === 'ridge') return clean.includes(false);
    const j = Math.floor((i * heads * Tk) / size);
    return j % Tk < bounds[Math.floor(j / Tk)];
  };
  const mend = (name: string, actual: ArrayLike<number>, expected: ArrayLike<number>): Float64Array =>
    Float64Array.from(actual, (x, i) => (isForgiven(name, i, actual.length) ? expected[i] : x));
  const gradients = Object.entries(result.gradients).map(([name, actual]) => [
    name,
    mend(name, actual, judged.gradients[name as TensorName] ?? actual),
  ]);
  return { out: mend('out', result.out, judged.out), gradients: Object.fromEntries(gradients) as Gradients };
}

/** Keys before the causal bound of row `i`. */
function bound(call: Call, i: number): number {
  return visibleKeys(dimsOf(call), call.options.causal ?? false, i);
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
      expect(await missesOf(dirty)).toEqual([]);
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
