/** The table of settings by which WebGPU kernels by matrices choose, and how it comes from measurements. */
import { readFileSync } from 'node:fs';
import { MEASURED } from '../kernels/common/webgpu/measured_tunings.js';
import type { TileUse } from '../kernels/common/webgpu/tile.js';
import { classesOf, lookUp, type MatrixTuning, UNMEASURED } from '../kernels/common/webgpu/tuning.js';
import type { Tried, TuningRun } from '../scripts/fast/tune.js';
import { moduleOf, tableOf, withRun } from '../scripts/tuning/choose.js';

const kept = JSON.parse(readFileSync('docs/benchmarks/webgpu_tuning.json', 'utf8')) as {
  readonly runs: readonly TuningRun[];
};

const setting = (subgroups: number): MatrixTuning => ({ subgroups, quads: 8, workgroups: 528 });

const tried = (name: string, subgroups: number, part: Partial<Tried> = {}): Tried => ({
  use: 'onePass',
  name,
  tuning: setting(subgroups),
  milliseconds: 1,
  error: 5e-4,
  bar: 1e-3,
  problems: [],
  ...part,
});

const run = (device: string, measurements: Tried[]): TuningRun => ({
  date: '2026-01-01',
  device: { vendor: 'maker', architecture: 'kind', device, driver: '' },
  measurements,
});

const chosen = (measurements: Tried[]) => tableOf([run('card', measurements)])['maker card'].onePass;

test('the table is what the measurements of the repository give', () => {
  expect(MEASURED).toEqual(evaluated(moduleOf(kept.runs)));
  for (const { device } of kept.runs) {
    for (const [use, tuning] of Object.entries(tableOf(kept.runs)[classesOf(device)[0]])) {
      expect([use, lookUp(MEASURED, device, use.split(' ')[0] as TileUse, use.endsWith('wide') ? 128 : 64)]).toEqual([
        use,
        tuning,
      ]);
    }
  }
});

/** The object that the module's text ends with. */
function evaluated(text: string): unknown {
  const source = text.slice(text.indexOf('= {') + 2, text.lastIndexOf(';'));
  return JSON.parse(
    source
      .replace(/'/g, '"')
      .replace(/(\w+):/g, '"$1":')
      .replace(/,(\s*\})/g, '$1'),
  );
}

test('every measurement of the repository is of a right result', () => {
  for (const { measurements } of kept.runs) {
    expect(measurements.filter(({ milliseconds }) => milliseconds === null)).toEqual([]);
    expect(measurements.length).toBeGreaterThan(0);
  }
});

test('the fastest of the right settings is chosen, over all cases', () => {
  expect(chosen([tried('a', 1, { milliseconds: 3 }), tried('a', 2, { milliseconds: 2 })])).toEqual(setting(2));
  // Twice as long in one case outweighs a tenth less in the other.
  const both = [
    [tried('a', 1, { milliseconds: 10 }), tried('a', 2, { milliseconds: 20 })],
    [tried('b', 1, { milliseconds: 1.1 }), tried('b', 2, { milliseconds: 1 })],
  ];
  expect(chosen(both.flat())).toEqual(setting(1));
});

test.each([
  ['an error over its bar', { error: 2e-3 }],
  ['no number', { error: NaN }],
  ['an error of the device', { problems: ['refused'] }],
  ['no time', { milliseconds: null }],
])('a setting with %s does not count, however fast', (_, part) => {
  expect(chosen([tried('a', 1, { milliseconds: 0.1, ...part }), tried('a', 2)])).toEqual(setting(2));
  expect(chosen([tried('a', 1, part)])).toBeUndefined();
});

test('a setting has to be right in every case', () => {
  const measurements = [tried('a', 1), tried('b', 1, { error: 1 }), tried('a', 2), tried('b', 2, { milliseconds: 9 })];
  expect(chosen(measurements)).toEqual(setting(2));
});

test('a case that the clock cut short tells nothing', () => {
  const measurements = [tried('a', 1, { milliseconds: 2 }), tried('a', 2), tried('b', 1, { milliseconds: 0.1 })];
  expect(chosen(measurements)).toEqual(setting(2));
});

test('a device takes what its narrowest class shows', () => {
  const [one, two] = [run('card', [tried('a', 1)]), run('other', [tried('a', 4)])];
  const table = tableOf([one, two]);
  const info = (vendor: string, architecture: string, device: string) => ({ vendor, architecture, device });
  const subgroups = (...names: [string, string, string]) => lookUp(table, info(...names), 'onePass', 64).subgroups;
  expect(subgroups('maker', 'kind', 'other')).toBe(4);
  expect(subgroups('maker', 'kind', 'unknown')).toBe(1);
  expect(subgroups('maker', '', '')).toBe(1);
  expect(subgroups('', '', '')).toBe(1);
  // Nothing was measured of this use.
  expect(lookUp(table, info('maker', 'kind', 'card'), 'keptWeights', 64)).toEqual(UNMEASURED);
  // The module leaves out what a wider class says as well.
  expect(evaluated(moduleOf([one, two]))).toEqual({ '': table[''], 'maker other': table['maker other'] });
});

test('uses that are measured again on a device replace what was measured of them', () => {
  const [one, two, again] = [run('card', [tried('a', 1)]), run('other', []), run('card', [tried('a', 2)])];
  expect(withRun(withRun([one], two), again)).toEqual([again, two]);
  const keys = tried('k', 1, { use: 'keys' });
  const [{ measurements }] = withRun([one], run('card', [keys]));
  expect(measurements).toEqual([...one.measurements, keys]);
});
