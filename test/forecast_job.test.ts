import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Report } from '../models/forecast/job.js';

const ROOT = join(__dirname, '..');
const HOURLY = join(ROOT, 'node_modules/vega-datasets/data/seattle-weather-hourly-normals.csv');

// Every test starts Node and tfjs anew; the whole job takes its minute at most.
jest.setTimeout(90_000);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'forecast-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const at = (name: string) => join(folder, name);

function file(name: string, text: string): string {
  writeFileSync(at(name), text);
  return at(name);
}

function run(args: readonly string[], variables: Readonly<Record<string, string>> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'models/tour/main.ts', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, ...variables },
  });
  return { status, stdout, stderr };
}

type Written = { backend: string; lags: number; seconds: number; reports: Report[] };

const read = (name: string) => JSON.parse(readFileSync(at(name), 'utf8')) as Written;

const errorsOf = (report: Report) => Object.fromEntries(report.results.map(({ name, error }) => [name, error]));
const winnerOf = (report: Report) => report.results.find(({ best }) => best)?.name;

test('the default series: a table each, the winners named, a picture and a record written, within a minute', () => {
  // By name: next to other tests `auto` may measure the backends wrongly, and wasm takes six times as long.
  const { status, stdout, stderr } = run(['--backend', 'cpu', '--svg', at('all.svg'), '--json', at('all.json')]);
  expect(stderr).not.toMatch(/error|warn/i);
  expect(status).toBe(0);

  const { reports, seconds, lags } = read('all.json');
  expect(seconds).toBeLessThan(60);
  expect(lags).toBe(8);
  expect(reports.length).toBeGreaterThanOrEqual(4);
  for (const { series, start, results } of reports) {
    expect(stdout).toContain(`${series.title}: ${series.values.length} values, 8 lags`);
    expect(stderr).toContain(`${series.title}: choosing settings`);
    for (const { forecast } of results) {
      expect(forecast).toHaveLength(series.values.length - start);
      expect(forecast.every(Number.isFinite)).toBe(true);
    }
  }

  // The hourly normals: LLA ahead of everything.
  const errors = errorsOf(reports[0]);
  expect(errors.localLinear).toBeCloseTo(0.0083, 3);
  expect(errors.mesa).toBeCloseTo(0.037, 3);
  expect(errors.softmax).toBeCloseTo(0.012, 3);
  expect(errors.persistence).toBeCloseTo(0.216, 3);
  expect(winnerOf(reports[0])).toBe('localLinear');
  expect(stdout).toMatch(/│ LLA \(local linear regression\) +│ 0\.008\d* │ +0\.038\d* │ +10 │ 0\.001 │ <- best/);

  // CO2, a smooth curve on a trend: mesa, and the table says so.
  const carbon = reports.find(({ series }) => series.title.includes('CO2'));
  expect(carbon && winnerOf(carbon)).toBe('mesa');
  expect(stdout).toMatch(/LLA does not win here: its error is 1\.\d+ times that of mesa/);
  expect(stdout).toMatch(/wins 1 of 6: mesa \(global ridge regression\)\n {2}monthly CO2/);

  const svg = readFileSync(at('all.svg'), 'utf8');
  expect(svg).toMatch(/^<svg [^>]*>/);
  for (const { series } of reports) expect(svg).toContain(series.title.replace('&', '&amp;'));
  expect(svg).not.toContain('NaN');
  expect(stdout).toContain(`picture of forecast against truth: ${at('all.svg')}`);
  expect(stdout).toContain(`settings, errors and forecasts: ${at('all.json')}`);
});

test('the first values of the default series on the backend that is fastest here', () => {
  const { status, stdout } = run(['--limit', '72', '--svg', at('short.svg'), '--json', at('short.json')]);
  expect(status).toBe(0);
  const { backend, reports } = read('short.json');
  expect(stdout).toMatch(new RegExp(`^forecasts .*; backend ${backend} \\(.+\\)`));
  for (const { series } of reports) expect(series.values).toHaveLength(72);
});

test("a user's own column, with lags and a limit of their own", () => {
  const args = ['--csv', HOURLY, '--column', 'wind', '--lags', '5', '--limit', '400'];
  const { status, stdout } = run([...args, '--svg', at('own.svg'), '--json', at('own.json'), '--backend', 'wasm']);
  expect(status).toBe(0);
  expect(stdout).toContain('wind: 400 values, 5 lags, chosen on the first 133, reported on the last 267');
  const { reports, backend } = read('own.json');
  expect(backend).toBe('wasm');
  expect(reports).toHaveLength(1);
  expect(reports[0].results).toHaveLength(5);
  expect(readFileSync(at('own.svg'), 'utf8')).toContain('wind');
});

test('a file is looked for where npm was called from', () => {
  file('here.csv', 'x\n1\n2\n');
  const { stderr } = run(['--csv', 'here.csv'], { npm_lifecycle_event: 'start', INIT_CWD: folder });
  expect(stderr).toContain("here.csv, column 'x': 2 values are too few");
});

describe('bad input ends with a message, exit code 1 and no stack trace:', () => {
  const good = () => file('good.csv', `x\n${Array.from({ length: 90 }, (_, i) => (i * i) % 17).join('\n')}\n`);

  test.each<[string, () => string[], string | RegExp]>([
    ['a missing file', () => ['--csv', at('none.csv')], /cannot read .*none\.csv: there is no such file/],
    ['a directory', () => ['--csv', folder], /cannot read .*: it is a directory, not a file/],
    ['an empty file', () => ['--csv', file('e.csv', '')], /e\.csv: the file is empty/],
    ['a missing column', () => ['--csv', good(), '--column', 'y'], /good\.csv has no column 'y'; it has 'x'/],
    ['no column chosen', () => ['--csv', file('two.csv', 'a,b\n1,2\n')], /choose one by --column \('a', 'b'\)/],
    ['text', () => ['--csv', file('t.csv', 'x\n1\ntwo\n')], /t\.csv, line 3, column 'x': 'two' is not a number/],
    ['an empty cell', () => ['--csv', file('g.csv', 'x\n1\n""\n')], /g\.csv, line 3, column 'x': the cell is empty/],
    ['too few values', () => ['--csv', good(), '--lags', '20'], /90 values are too few; 20 lags need at least 132/],
    ['a bad --lags', () => ['--lags', '2.5'], "'2.5' is invalid. It must be a whole number from 1 to 128."],
    ['a negative --lags', () => ['--lags', '-1'], "'-1' is invalid"],
    ['a bad --limit', () => ['--limit', '0'], "'0' is invalid. It must be a whole number of at least 1."],
    ['a bad --backend', () => ['--backend', 'gpu'], 'Allowed choices are auto, tensorflow, webgpu, wasm, cpu'],
    ['an unknown option', () => ['--lag', '3'], "unknown option '--lag'"],
    ['an argument too many', () => ['data.csv'], 'too many arguments'],
    ['--column without --csv', () => ['--column', 'x'], 'give both, or neither'],
    ['the input as output', () => ['--csv', good(), '--json', good()], 'must name different files'],
    ['an output that is a directory', () => ['--csv', good(), '--json', folder], /cannot write .*: it is a directory/],
    [
      'an output below a file',
      () => ['--csv', good(), '--svg', join(good(), 'a.svg')],
      /cannot write .*a\.svg: a part of its path is a file/,
    ],
  ])('%s', (_, args, message) => {
    const { status, stdout, stderr } = run(args());
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: /);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stdout).toBe('');
    expect(status).toBe(1);
  });
});
