import { countBad, errorsOf } from '../scripts/bench/accuracy.js';
import type { BenchCase } from '../scripts/bench/cases.js';
import { headData, normals } from '../scripts/bench/data.js';
import { benchOperators, operatorNames } from '../scripts/bench/operators.js';
import { keyGradients, outputRow, queryGradients, sampledKeys } from '../scripts/bench/references.js';
import { solverGradients } from '../scripts/bench/solver_gradients.js';

const sizes = { heads: 2, queries: 40, keys: 47, dim: 12 };
const caseOf = (part: Partial<BenchCase>): BenchCase => ({
  operator: 'localLinearAttention',
  direction: 'gradient',
  causal: true,
  limits: 'device',
  ridge: 0.3,
  ...sizes,
  ...part,
});

/** All heads of a case as one problem. */
function wholeProblem(one: BenchCase) {
  const { heads, queries, keys, dim, causal, ridge = 1 } = one;
  const join = (name: Parameters<typeof normals>[0], rows: number): Float32Array =>
    Float32Array.from(Array.from({ length: heads }, (_, head) => [...normals(name, head, rows, dim)]).flat());
  const problem = {
    dims: { batch: heads, heads, Tq: queries, Tk: keys, D: dim, Dv: dim },
    query: join('query', queries),
    key: join('key', keys),
    value: join('value', keys),
    probe: join('probe', queries),
    causal,
    ridge,
  };
  return { problem, dout: Float64Array.from(join('dout', queries)) };
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i])));
}

describe('references of the benchmark', () => {
  it('draws the same numbers whatever the number of rows, and others for each head and tensor', () => {
    const long = normals('key', 1, 30, 8);
    expect(normals('key', 1, 5, 8)).toEqual(long.subarray(0, 40));
    expect(normals('key', 2, 5, 8)).not.toEqual(long.subarray(0, 40));
    expect(normals('value', 1, 5, 8)).not.toEqual(long.subarray(0, 40));
    const many = normals('query', 0, 1000, 64);
    const mean = many.reduce((a, b) => a + b) / many.length;
    const square = many.reduce((a, b) => a + b * b, 0) / many.length;
    expect(Math.abs(mean)).toBeLessThan(0.02);
    expect(Math.abs(square - 1)).toBeLessThan(0.02);
  });

  it('draws correlated keys and queries: channels of the spectrum, and a mean', () => {
    const [rows, dim] = [4000, 8];
    const one = { heads: 1, queries: rows, keys: rows, dim, correlation: { spectrum: 1, mean: 2 } };
    const keys = headData(one, 'key', 0);
    const variances = Array.from({ length: dim }, (_, d) => {
      const channel = Array.from({ length: rows }, (__, j) => keys[j * dim + d]);
      expect(Math.abs(channel.reduce((a, b) => a + b) / rows - 2)).toBeLessThan(0.2);
      return channel.reduce((sum, x) => sum + (x - 2) ** 2, 0) / rows;
    });
    expect(Math.abs(variances.reduce((a, b) => a + b) / dim - 1)).toBeLessThan(0.1);
    for (const [d, variance] of variances.entries()) {
      expect(Math.abs((variance * (d + 1) ** 2) / variances[0] - 1)).toBeLessThan(0.15);
    }
    expect(headData(one, 'value', 0)).toEqual(normals('value', 0, rows, dim));
  });

  for (const operator of operatorNames) {
    for (const causal of [true, false]) {
      it(`${operator}, ${causal ? 'causal' : 'full'}: a row alone is the row among all`, () => {
        const one = caseOf({ operator, causal });
        const { problem, dout } = wholeProblem(one);
        const out = benchOperators[operator].forward(problem);
        const gradient = benchOperators[operator].gradient(problem, dout);
        const { queries, dim } = one;
        for (const at of [
          { head: 0, row: 0 },
          { head: 1, row: 39 },
        ]) {
          const first = (at.head * queries + at.row) * dim;
          expect(largestDifference(outputRow(one, at), out.subarray(first, first + dim))).toBeLessThan(1e-10);
          const { dquery } = queryGradients(one, at);
          expect(largestDifference(dquery, gradient.dquery.subarray(first, first + dim))).toBeLessThan(1e-10);
        }
        const { dkey } = keyGradients(one);
        expect(largestDifference(dkey, gradient.dkey.subarray(0, dkey.length))).toBeLessThan(1e-10);
      });
    }
  }

  for (const operator of ['localLinearAttention', 'mesaAttention'] as const) {
    for (const causal of [true, false]) {
      it(`${operator}, ${causal ? 'causal' : 'full'}: gradients of several ridges at once are the reference's`, () => {
        const ridges = [0.2, 5];
        const keys = sampledKeys(sizes.keys);
        const results = solverGradients(caseOf({ operator, causal }), ridges, keys);
        for (const [r, ridge] of ridges.entries()) {
          const expected = keyGradients(caseOf({ operator, causal, ridge }));
          for (const name of ['dkey', 'dvalue'] as const) {
            const rows = keys.flatMap((key) => [...expected[name].subarray(key * sizes.dim, (key + 1) * sizes.dim)]);
            expect(largestDifference(results[r][name], rows)).toBeLessThan(1e-10);
          }
        }
      });
    }
  }
});

describe('errors in the benchmark', () => {
  it('are those of the checked rows, and a NaN is never lost', () => {
    const one = caseOf({ direction: 'forward' });
    const { problem } = wholeProblem(one);
    const out = Float32Array.from(benchOperators.localLinearAttention.forward(problem));
    const [right] = errorsOf(one, { out });
    expect(right.relative).toBeLessThan(1e-6);
    expect(right.worstRow).toBeLessThan(1e-6);
    const [scaled] = errorsOf(one, { out: out.map((x) => 1.01 * x) });
    expect(scaled.relative).toBeCloseTo(0.01, 5);
    const [broken] = errorsOf(one, { out: out.map((x, i) => (i < sizes.dim ? NaN : x)) });
    expect(broken.relative).toBeNaN();
    expect(broken.worstRow).toBeNaN();
    expect(countBad(Float32Array.of(1, NaN, Infinity))).toBe(2);
  });
});
