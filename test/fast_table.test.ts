/** How `npm run fast` says which bars its rows meet. */
import type { BenchCase } from '../scripts/bench/cases.js';
import type { Row } from '../scripts/bench/run_case.js';
import { judged, type JudgedRow, lineOf, markdownOf, summaryOf } from '../scripts/fast/table.js';

const timing = (median: number): NonNullable<Row['kernel']> => ({ median, minimum: median, maximum: median, runs: 10 });

function row(part: Partial<BenchCase>, milliseconds: number, error = 1e-4): Row {
  const sizes = { heads: 32, queries: 2048, keys: 2048, dim: 64, causal: true, limits: 'device' } as const;
  return {
    name: [part.direction, part.precision].join(' ').trim(),
    case: { operator: 'localLinearAttention', direction: 'forward', ridge: 1, tolerance: 1e-3, ...sizes, ...part },
    errors: [{ name: 'out', relative: error, worstRow: 2 * error, rows: 5 }],
    iterations: null,
    kernel: timing(milliseconds),
    passes: { '0: kernel': milliseconds },
    // Far above its kernels, which is no bar of the kernels.
    wall: timing(10 * milliseconds),
    kernelsOfWall: milliseconds,
    teraflops: null,
    firstCall: null,
    composed: null,
    problems: [],
  };
}

const table = (gradientTime: number, error: number): JudgedRow[] => {
  const fast = { precision: 'fast' } as const;
  const forward = row({ ...fast, bar: { kernelMilliseconds: 1.5, timesHigh: 1 } }, 1);
  const gradient = row(
    { ...fast, direction: 'gradient', bar: { timesForward: 2.5, error: 1e-3 } },
    gradientTime,
    error,
  );
  const rows = [row({}, 2), forward, gradient];
  return rows.map((one) => judged(one, rows));
};

test('bars that are met are said to be', () => {
  const rows = table(2.4, 9e-4);
  expect(summaryOf(rows)).toBe('bars: 4 met, 0 missed');
  expect(lineOf(rows[1])).toContain('met kernel ms 1.00 of 1.50; met x float32 0.500 of 1.00');
});

test.each([
  ['x forward', 2.6, 9e-4],
  ['error', 2.4, 1.1e-3],
  ['error', 2.4, NaN],
])('a bar of %s that is missed is named', (what, time, error) => {
  const rows = table(time, error);
  expect(summaryOf(rows)).toMatch(new RegExp(`^bars: 3 met, 1 missed\\n  gradient fast: ${what}`));
  expect(lineOf(rows[2])).toContain(`MISSED ${what}`);
  expect(markdownOf(rows)).toMatch(new RegExp(`${what} [0-9.]+: \\*\\*missed`));
});

test('a bar that could not be judged is missed', () => {
  const [, forward] = table(2.4, 1e-4);
  const alone = judged(forward, [forward]);
  expect(summaryOf([alone])).toContain('1 met, 1 missed');
});

test('the table has the fast rows, with the time of float32 beside', () => {
  const lines = markdownOf(table(2.4, 1e-4)).trim().split('\n');
  expect(lines).toHaveLength(4);
  expect(lines[2]).toContain('| 2.00 | 1.00 | 0.500 | - |');
  expect(lines[3]).toContain('| 2.40 |');
});
