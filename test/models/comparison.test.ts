/** What a comparison leaves: a table and a plot, without training again; and what a sweep chooses. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { readOptions } from '../../models/trainer/options.js';
import { MODELS } from '../../models/trainer/registry.js';
import { sweep } from '../../models/trainer/sweep.js';
import type { SweepFile } from '../../models/trainer/sweep_file.js';
import { useBackend } from '../backends.js';
import { remove, ROOT, temporaryFolder } from '../consumer.js';
import { argumentsOf, recordOf, runHere } from './runs.js';

jest.setTimeout(60_000);

let folder: string;
const short = ['--steps', '4', '--set', 'logEvery=2', '--set', 'evaluateEvery=2', '--set', 'evaluated=2'];

beforeAll(async () => {
  tf.enableProdMode();
  await useBackend('cpu');
  jest.spyOn(console, 'log').mockImplementation(() => undefined);
  folder = temporaryFolder();
});
afterAll(() => remove(folder));

function render(model: string, out: string) {
  const args = ['--import', 'tsx', 'models/trainer/main.ts', model, '--render', '--no-publish', '--out', out];
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return { table: readFileSync(join(out, 'table.md'), 'utf8'), plot: readFileSync(join(out, 'plot.svg'), 'utf8') };
}

test('a table with means and spread, a plot with a line for each attention', async () => {
  const out = join(folder, 'compared');
  const args = argumentsOf('state_tracking', out, ...short, '--compare', '--seeds', '2', '--attention', 'softmax,mesa');
  expect(await runHere(args)).toBe(true);
  const { table, plot } = render('state_tracking', out);
  const [a, b] = ['softmax_seed1', 'softmax_seed2'].map((run) => Number(recordOf(out, run).metrics.accuracy));
  const [mean, deviation] = [(a + b) / 2, Math.abs(a - b) / Math.SQRT2];
  expect(table).toContain(`${Number(mean.toPrecision(3))} ± ${Number(deviation.toPrecision(2))}`);
  expect(table).toContain('| attention | accuracy | accuracy in the second half | steps | s per run | weights |');
  expect(table.match(/^\| (softmax|mesa) /gm)).toHaveLength(2);
  expect(table).toContain('seeds 1, 2');
  expect(plot).toMatch(/^<svg /);
  for (const text of ['softmax', 'mesa', 'training loss', 'accuracy']) expect(plot).toContain(`>${text}</text>`);
  expect(plot).not.toContain('NaN');
});

test('test_time_regression: local linear attention has the smallest error where regions differ', async () => {
  const out = join(folder, 'regression');
  const sizes = [
    '--set',
    'length=192',
    '--set',
    'segment=32',
    '--set',
    'dim=4',
    '--set',
    'batch=2',
    '--set',
    'largest=8',
  ];
  const args = ['test_time_regression', '--compare', '--seeds', '1', '--backend', 'cpu', '--out', out, ...sizes];
  expect(await runHere(args)).toBe(true);
  const errors = (metric: string) =>
    Object.fromEntries(
      ['localLinear', 'softmax', 'linear', 'mesa'].map((attention) => {
        const value = Number(recordOf(out, `${attention}_seed1`).metrics[metric]);
        expect(Number.isFinite(value)).toBe(true);
        return [attention, value];
      }),
    );
  const { localLinear, softmax, linear, mesa } = errors('separate');
  for (const other of [softmax, linear, mesa]) expect(localLinear).toBeLessThan(other);
  for (const value of Object.values(errors('shared'))) expect(value).toBeGreaterThan(localLinear);
  const { table, plot } = render('test_time_regression', out);
  expect(table).toContain('| attention | error, a region per segment | error, one region for all |');
  expect(plot).toContain('by dimension');
});

test('a sweep tries every value, keeps the best, and a comparison takes it', async () => {
  const out = join(folder, 'swept');
  const args = argumentsOf('in_context_regression', out, ...short, '--sweep', '--attention', 'softmax,localLinear');
  const options = readOptions(args, Object.keys(MODELS));
  const host = { backend: 'cpu', adapter: 'a processor', out, command: 'test', mustPause: () => false };
  expect(await sweep(await MODELS.in_context_regression(), options, host)).toBe(true);
  const file = join(out, 'sweep.json');
  const { trials, chosen } = JSON.parse(readFileSync(file, 'utf8')) as SweepFile;
  // Four rates, two scales and two ridges beside the model's own.
  expect(trials.filter(({ attention }) => attention === 'softmax')).toHaveLength(6);
  expect(trials.filter(({ attention }) => attention === 'localLinear')).toHaveLength(8);
  const values = trials.filter(({ attention }) => attention === 'localLinear').map(({ value }) => Number(value));
  const best = trials.find(({ attention, value }) => attention === 'localLinear' && value === Math.min(...values));
  expect(best?.set).toMatchObject(chosen.localLinear ?? { missing: 1 });
  await runHere(argumentsOf('in_context_regression', out, ...short, '--chosen', file));
  expect(recordOf(out).key.settings).toMatchObject({ ...chosen.localLinear, steps: 4 });
  await expect(runHere(argumentsOf('state_tracking', out, '--chosen', file))).rejects.toThrow(
    'the sweep is of in_context_regression, not of state_tracking',
  );
});
