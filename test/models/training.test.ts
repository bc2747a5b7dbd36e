/** Every model trains; killed at any moment it goes on to the same numbers; what a run leaves is there. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { checkpointFile } from '../../models/trainer/run.js';
import { useBackend } from '../backends.js';
import { remove, ROOT, temporaryFolder } from '../consumer.js';
import { argumentsOf, recordOf, resultOf, runHere, SMALL } from './runs.js';

jest.setTimeout(120_000);

const models = Object.keys(SMALL);
let folder: string;
const whole = (model: string) => join(folder, `${model}_whole`);

beforeAll(async () => {
  // Else the cpu backend advises to install another package.
  tf.enableProdMode();
  await useBackend('cpu');
  jest.spyOn(console, 'log').mockImplementation(() => undefined);
  folder = temporaryFolder();
  for (const model of models) {
    const { numTensors } = tf.memory();
    expect(await runHere(argumentsOf(model, whole(model)))).toBe(true);
    expect(tf.memory().numTensors).toBe(numTensors);
  }
});
afterAll(() => remove(folder));

/** Starts the program in a process of its own. */
function start(args: readonly string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', 'models/trainer/main.ts', ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (text: Buffer) => (stderr += text.toString()));
  return { child, ended: once(child, 'close') as Promise<[number | null, string | null]>, stderr: () => stderr };
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

describe.each(models)('%s', (model) => {
  test('its loss falls', () => {
    const { losses, evaluations, ending, step } = recordOf(whole(model));
    expect({ ending, step }).toEqual({ ending: 'steps', step: 40 });
    expect(losses.map(([at]) => at)).toEqual(Array.from({ length: 8 }, (_, i) => 5 * (i + 1)));
    expect(evaluations.map((one) => one.step)).toEqual([20, 40]);
    const mean = (some: typeof losses) => some.reduce((sum, [, loss]) => sum + loss, 0) / some.length;
    expect(mean(losses.slice(-2))).toBeLessThan(0.95 * mean(losses.slice(0, 2)));
  });

  test('leaves its record and its last checkpoint', () => {
    expect(readdirSync(join(whole(model), 'localLinear_seed1')).sort()).toEqual([
      'checkpoint.safetensors',
      'record.json',
    ]);
  });

  test('killed at a random moment it goes on to the same result', async () => {
    const out = join(folder, `${model}_killed`);
    const args = argumentsOf(model, out, '--checkpoint-seconds', '0');
    const first = start(args);
    const checkpoint = checkpointFile(join(out, 'localLinear_seed1'));
    while (!existsSync(checkpoint) && first.child.exitCode === null) await pause(5);
    await pause(300 * Math.random());
    first.child.kill('SIGKILL');
    const [, signal] = await first.ended;
    expect({ signal, stderr: first.stderr() }).toMatchObject({ signal: 'SIGKILL' });
    expect(existsSync(join(out, 'localLinear_seed1', 'record.json'))).toBe(false);

    const second = start(args);
    const [code] = await second.ended;
    expect({ code, stderr: second.stderr() }).toMatchObject({ code: 0 });
    expect(second.stderr()).toMatch(/goes on after step \d+ of 40/);
    expect(resultOf(recordOf(out))).toEqual(resultOf(recordOf(whole(model))));
    const bits = (at: string) => readFileSync(checkpointFile(join(at, 'localLinear_seed1')));
    // The time in the notes differs; the numbers lie behind the notes.
    const numbers = (file: Buffer) => file.subarray(8 + Number(file.readBigUInt64LE()));
    expect(numbers(bits(out)).equals(numbers(bits(whole(model))))).toBe(true);
  });
});

test('Ctrl-C, which npm hands on once more, stops a run at a checkpoint with code 2', async () => {
  const out = join(folder, 'stopped');
  const { child, ended, stderr } = start(argumentsOf('waves', out, '--steps', '100000'));
  while (!stderr().includes('begins') && child.exitCode === null) await pause(5);
  child.kill('SIGINT');
  await pause(50);
  child.kill('SIGINT');
  const [code, signal] = await ended;
  expect({ code, signal, stderr: stderr() }).toMatchObject({ code: 2, signal: null });
  expect(stderr()).toContain('stopping at the next checkpoint');
  expect(existsSync(checkpointFile(join(out, 'localLinear_seed1')))).toBe(true);
});

test('another attention, another seed: each gives a run of its own', async () => {
  const out = join(folder, 'several');
  const args = argumentsOf(
    'associative_recall',
    out,
    '--steps',
    '2',
    '--attention',
    'all',
    '--seeds',
    '2',
    '--set',
    'evaluated=1',
  );
  expect(await runHere(args)).toBe(true);
  const runs = readdirSync(out).sort();
  expect(runs).toHaveLength(10);
  const losses = runs.map((run) => recordOf(out, run).losses[0][1]);
  expect(new Set(losses).size).toBe(10);
  // What is there is not run again.
  const before = readFileSync(join(out, runs[0], 'record.json'), 'utf8');
  expect(await runHere(args)).toBe(true);
  expect(readFileSync(join(out, runs[0], 'record.json'), 'utf8')).toBe(before);
});

test('a run ends early where its metric is good enough, or gets no better', async () => {
  const out = join(folder, 'early');
  await runHere(argumentsOf('associative_recall', out, '--target', '0.0001'));
  const reached = recordOf(out);
  expect(reached.ending).toBe('target');
  expect(reached.step).toBe(reached.evaluations.find(({ metrics }) => Number(metrics.accuracy) > 0)?.step);
  // A rate that moves nothing leaves the metric where it was.
  const idle = ['--rate', '1e-30', '--patience', '2', '--set', 'evaluateEvery=5'];
  await runHere(argumentsOf('associative_recall', out, '--restart', ...idle));
  expect(recordOf(out)).toMatchObject({ ending: 'patience', step: 15 });
});

test('a loss that is no number ends a run and is told', async () => {
  const out = join(folder, 'diverged');
  await runHere(argumentsOf('in_context_regression', out, '--rate', '1e30'));
  const { ending, step } = recordOf(out);
  expect(ending).toBe('diverged');
  expect(step).toBeLessThan(40);
});
