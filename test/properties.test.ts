import fc from 'fast-check';
import { backends, useBackend } from './backends.js';
import { operators } from './cases.js';
import { outShape } from './judge.js';
import { Random } from './random.js';
import { runCall, runForward } from './run_call.js';
import { take, takeKeys, takeQueries, withTensors } from './select.js';
import { relativeMax, sizeOf } from './values.js';
import type { Call, Operator, PlainOptions } from './values.js';

interface Size {
  readonly lead: number[];
  readonly Tq: number;
  readonly Tk: number;
  readonly D: number;
  readonly Dv: number;
}

const sizes: fc.Arbitrary<Size> = fc.record({
  lead: fc.constantFrom([1], [2], [1, 2], [2, 2]),
  Tq: fc.integer({ min: 1, max: 20 }),
  Tk: fc.integer({ min: 1, max: 40 }),
  D: fc.integer({ min: 1, max: 9 }),
  Dv: fc.integer({ min: 1, max: 6 }),
});

const seeds = fc.integer({ min: 0, max: 1e6 });

/** Few runs, since each is several calls; a failure prints its seed and shrinks its sizes. */
const runs = { numRuns: 12 };

/** A call of any operator; linear attention's keys and queries are positive, so that no normaliser is near zero. */
function callOf(operator: Operator, size: Size, seed: number, options: PlainOptions = {}): Call {
  const { lead, Tq, Tk, D, Dv } = size;
  const random = new Random(seed);
  return {
    operator,
    options,
    tensors: {
      query: random.normals([...lead, Tq, D]),
      key: random.normals([...lead, Tk, D]),
      value: random.normals([...lead, Tk, Dv]),
      ...(operator === 'parallaxAttention' && { probe: random.normals([...lead, Tq, D]) }),
    },
  };
}

function shuffled(n: number, random: Random): number[] {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random.uniform() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

describe.each(backends)('properties on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  const averaging = ['localLinearAttention', 'softmaxAttention', 'parallaxAttention', 'linearAttention'] as const;

  test.each(averaging)('%s reproduces constant values', async (operator) => {
    await fc.assert(
      fc.asyncProperty(sizes, seeds, fc.boolean(), async (size, seed, causal) => {
        const call = callOf(operator, { ...size, Tk: Math.max(size.Tq, size.Tk) }, seed, { causal });
        const { shape } = call.tensors.value;
        const value = { shape, data: new Float32Array(sizeOf(shape)).fill(3) };
        const { out } = await runForward(withTensors(call, { value }));
        expect(relativeMax(out, new Float32Array(out.length).fill(3))).toBeLessThan(1e-5);
      }),
      runs,
    );
  });

  test('localLinearAttention reproduces values linear in the keys as the ridge goes to zero', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, seeds, async (size, seed) => {
        const D = Math.min(size.D, 4);
        const random = new Random(seed);
        const slope = Array.from({ length: D }, () => random.normal());
        // Many keys and small scores: the covariance is well away from singular, so only the ridge is in the way.
        const call = callOf('localLinearAttention', { ...size, D, Tk: 40, Dv: 1 }, seed, { scale: 0.1, ridge: 1e-5 });
        const line = (x: ArrayLike<number>, i: number) => slope.reduce((sum, a, d) => sum + a * x[i * D + d], 0.5);
        const { query, key, value } = call.tensors;
        const data = Array.from({ length: value.data.length }, (_, j) => line(key.data, j));
        const { out } = await runForward(withTensors(call, { value: { shape: value.shape, data } }));
        const expected = Array.from({ length: out.length }, (_, i) => line(query.data, i));
        expect(relativeMax(out, expected)).toBeLessThan(1e-3);
      }),
      runs,
    );
  });

  test('localLinearAttention is softmax attention as the ridge goes to infinity', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, seeds, fc.boolean(), async (size, seed, causal) => {
        const local = callOf('localLinearAttention', size, seed, { causal, ridge: 1e7 });
        const softmax: Call = { ...local, operator: 'softmaxAttention', options: { causal } };
        const dout = new Random(seed + 1).normals(outShape(local)).data;
        const [a, b] = [await runCall(local, dout), await runCall(softmax, dout)];
        expect(relativeMax(a.out, b.out)).toBeLessThan(1e-5);
        expect(relativeMax(a.gradients.value ?? [], b.gradients.value ?? [])).toBeLessThan(1e-5);
      }),
      runs,
    );
  });

  test('localLinearAttention and softmaxAttention return the value of a single visible key', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, seeds, async (size, seed) => {
        const one = callOf('localLinearAttention', { ...size, Tq: 1, Tk: 1 }, seed, { ridge: 1e-3 });
        for (const operator of ['localLinearAttention', 'softmaxAttention'] as const) {
          const { out } = await runForward({ ...one, operator, options: {} });
          expect(relativeMax(out, one.tensors.value.data)).toBeLessThan(1e-6);
        }
      }),
      runs,
    );
  });

  test('a key bias shifted by a constant changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, seeds, async (size, seed) => {
        const call = callOf('localLinearAttention', size, seed);
        const keyBias = new Random(seed + 1).normals([...size.lead, size.Tk]);
        const shifted = { shape: keyBias.shape, data: Array.from(keyBias.data, (b) => b + 8) };
        const a = await runForward(withTensors(call, { keyBias }));
        const b = await runForward(withTensors(call, { keyBias: shifted }));
        expect(relativeMax(a.out, b.out)).toBeLessThan(5e-5);
      }),
      runs,
    );
  });

  test('a scale cancels in normalised linear attention', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, seeds, async (size, seed) => {
        const call = callOf('linearAttention', size, seed);
        const a = await runForward(call);
        const b = await runForward({ ...call, options: { scale: 0.125 } });
        expect(relativeMax(a.out, b.out)).toBeLessThan(1e-6);
      }),
      runs,
    );
  });

  describe.each(operators)('%s', (operator) => {
    test('a hidden key equals a removed key', async () => {
      await fc.assert(
        fc.asyncProperty(sizes, seeds, async (size, seed) => {
          const call = callOf(operator, { ...size, lead: [1, 2], Tk: size.Tk + 1 }, seed);
          const mask = new Random(seed + 1).mask([1, size.Tk + 1], 0.6);
          const keys = Array.from(mask.data, (visible, j) => (visible ? j : -1)).filter((j) => j >= 0);
          fc.pre(keys.length > 0);
          const dout = new Random(seed + 2).normals(outShape(call)).data;
          const hidden = await runCall(withTensors(call, { keyMask: mask }), dout);
          const removed = await runCall(takeKeys(call, keys), dout);
          expect(relativeMax(hidden.out, removed.out)).toBeLessThan(2e-5);
          const shape = call.tensors.value.shape;
          const dvalue = { shape, data: hidden.gradients.value ?? [] };
          expect(relativeMax(take(dvalue, 2, keys).data, removed.gradients.value ?? [])).toBeLessThan(2e-5);
          const others = Array.from(mask.data, (visible, j) => (visible ? -1 : j)).filter((j) => j >= 0);
          const dkey = { shape: call.tensors.key.shape, data: hidden.gradients.key ?? [] };
          expect(Array.from(take(dkey, 2, others).data).every((x) => x === 0)).toBe(true);
        }),
        runs,
      );
    });

    test('permuting keys changes nothing without causal', async () => {
      await fc.assert(
        fc.asyncProperty(sizes, seeds, async (size, seed) => {
          const call = callOf(operator, size, seed);
          const order = shuffled(size.Tk, new Random(seed + 1));
          const a = await runForward(call);
          const b = await runForward(takeKeys(call, order));
          expect(relativeMax(a.out, b.out)).toBeLessThan(2e-5);
        }),
        runs,
      );
    });

    test('the last row of a causal call equals a one-row call', async () => {
      await fc.assert(
        fc.asyncProperty(sizes, seeds, async (size, seed) => {
          const call = callOf(operator, size, seed, { causal: true });
          const all = await runForward(call);
          const last = await runForward(takeQueries(call, [size.Tq - 1]));
          const row = take({ shape: all.shape, data: all.out }, size.lead.length, [size.Tq - 1]);
          expect(relativeMax(last.out, row.data)).toBeLessThan(2e-5);
        }),
        runs,
      );
    });
  });
});
