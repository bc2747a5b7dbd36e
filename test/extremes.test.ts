import { backends, useBackend } from './backends.js';
import { judge, misses } from './bars.js';
import type { Judged } from './bars.js';
import { operators } from './cases.js';
import { isCuda } from './check_case.js';
import { Random } from './random.js';
import { runCall } from './run_call.js';
import { withNumbers, withTensors } from './select.js';
import type { Call, Operator, PlainOptions } from './values.js';

const scored = ['localLinearAttention', 'softmaxAttention', 'parallaxAttention'] as const;

/** A call on standard normal data, one head per batch entry. */
function callOf(operator: Operator, Tq: number, Tk: number, D: number, options: PlainOptions = {}, B = 2): Call {
  const random = new Random(Tq + Tk + D);
  return {
    operator,
    options,
    tensors: {
      query: random.normals([B, Tq, D]),
      key: random.normals([B, Tk, D]),
      value: random.normals([B, Tk, 5]),
      ...(operator === 'parallaxAttention' && { probe: random.normals([B, Tq, D]) }),
    },
  };
}

/** Runs a call with its gradients; the arrays that miss their bars. */
async function missesOf(call: Call): Promise<string[]> {
  const judged = judge(call);
  return misses(call, judged, await runCall(call, judged.dout), barFactor());
}

/** CUDA's operands have 22 digits, which scores of 1e4 ask for, and its tensor cores cut off what they add up over 100,000 keys. */
const barFactor = (): number => (isCuda() ? 2 : 1);

const manyKeys = new Map<Operator, Judged>();

describe.each(backends)('extremes on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(scored)('%s: scores up to 1e4', async (operator) => {
    const call = callOf(operator, 33, 47, 8, { causal: true });
    const { query } = call.tensors;
    const large = withTensors(call, { query: { shape: query.shape, data: Array.from(query.data, (x) => 3000 * x) } });
    expect(await missesOf(large)).toEqual([]);
  });

  test.each(scored)('%s: scores up to 1e4 by the scale', async (operator) => {
    const { tensors } = callOf(operator, 40, 40, 16);
    const [q, k] = [tensors.query.data, tensors.key.data];
    const score = (i: number, j: number) => Array.from({ length: 16 }, (_, d) => q[i * 16 + d] * k[j * 16 + d]);
    const scores = Array.from({ length: 1600 }, (_, ij) => score(Math.floor(ij / 40), ij % 40).reduce((a, b) => a + b));
    const scale = 1e4 / Math.max(...scores.map(Math.abs));
    expect(await missesOf({ operator, tensors, options: { causal: true, scale } })).toEqual([]);
  });

  test.each(['linearAttention', 'mesaAttention'] as const)('%s: products up to 1e4', async (operator) => {
    const call = callOf(operator, 33, 47, 8, { causal: true });
    const { query } = call.tensors;
    const large = withTensors(call, { query: { shape: query.shape, data: Array.from(query.data, (x) => 3000 * x) } });
    expect(await missesOf(large)).toEqual([]);
  });

  describe.each(['auto', 'direct', 'conjugateGradient'] as const)('localLinearAttention, solver %s', (solver) => {
    test.each([1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1, 10, 1e3, 1e6])('ridge %p', async (ridge) => {
      expect(await missesOf(callOf('localLinearAttention', 33, 33, 24, { causal: true, ridge, solver }))).toEqual([]);
      expect(await missesOf(callOf('localLinearAttention', 7, 200, 5, { ridge, solver }))).toEqual([]);
    });
  });

  test.each([1e-6, 1e-3, 1, 1e6])('mesaAttention: ridge %p', async (ridge) => {
    // As many keys as make the sum of their products regular: below, the problem itself is ill-conditioned.
    expect(await missesOf(callOf('mesaAttention', 9, 100, 6, { ridge }))).toEqual([]);
  });

  describe.each(operators)('%s', (operator) => {
    test.each([1, 4])('keys of which each occurs many times, %p different ones', async (different) => {
      const call = callOf(operator, 11, 60, 6, { causal: true });
      const { shape, data } = call.tensors.key;
      const repeated = Array.from(data, (_, i) => data[((Math.floor(i / 6) % 60) % different) * 6 + (i % 6)]);
      expect(await missesOf(withTensors(call, { key: { shape, data: repeated } }))).toEqual([]);
    });

    test('one query and 100,000 keys', async () => {
      const call = callOf(operator, 1, 100_000, 16, {}, 1);
      // In float64 it takes longer than on a backend: once for all of them.
      const judged = manyKeys.get(operator) ?? judge(call);
      manyKeys.set(operator, judged);
      expect(misses(call, judged, await runCall(call, judged.dout), barFactor())).toEqual([]);
    });

    test('an infinity in a row gives no hang', async () => {
      const call = withNumbers(callOf(operator, 12, 20, 6, { causal: true }), 'key', { [15 * 6 + 1]: Infinity });
      const judged = judge(call);
      const { out } = await runCall(call, judged.dout);
      // Rows of the first batch that do not see key 15, and the whole second batch.
      const clean = (i: number) => i >= 12 * 5 || Math.floor(i / 5) + 8 < 15;
      expect(Array.from(out).every((x, i) => !clean(i) || Number.isFinite(x))).toBe(true);
    });
  });

  test('a key bias of -Infinity hides a key', async () => {
    for (const operator of scored) {
      const call = callOf(operator, 12, 20, 6, { causal: true });
      const data = Array.from({ length: 40 }, (_, j) => (j % 5 === 2 || j >= 30 ? -Infinity : 0.1 * j));
      const judged = judge(withTensors(call, { keyBias: { shape: [2, 20], data } }));
      expect(judged.out.every(Number.isFinite)).toBe(true);
      expect(await missesOf(withTensors(call, { keyBias: { shape: [2, 20], data } }))).toEqual([]);
    }
  });
});
