/** `npm start`: the tour from end to end with small settings, how it is stopped, and which options make it the forecast alone. */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { loadLayersModel } from '@tensorflow/tfjs-layers';
import { directory } from '../src/node.js';
import { readOptions } from '../models/tour/options.js';
import { backendText, resultText } from '../models/tour/text.js';
import { settingsOf } from '../models/trainer/options.js';
import { experiment, heldOutWaves } from '../models/waves/train.js';
import type { RunRecord } from '../models/trainer/record.js';
import { useBackend } from './backends.js';
import { remove, ROOT, temporaryFolder } from './consumer.js';

// Every run starts Node and tfjs anew.
jest.setTimeout(90_000);

let folder: string;
beforeAll(() => (folder = temporaryFolder()));
afterAll(() => remove(folder));

const at = (...names: string[]) => join(folder, ...names);

/** What runs that have ended left of what they wrote aside; tsx has a cache of its own there. */
const scratch = () => readdirSync(at('scratch')).filter((name) => !name.startsWith('tsx-'));

/** Runs `npm start -- ...args`, and sends `signal`, if there is one, when the standard error says `when`. */
function start(args: readonly string[], { when = '', signal }: { when?: string; signal?: NodeJS.Signals } = {}) {
  mkdirSync(at('scratch'), { recursive: true });
  const env = { ...process.env, TMPDIR: at('scratch') };
  const child = spawn(process.execPath, ['--import', 'tsx', 'models/tour/main.ts', ...args], { cwd: ROOT, env });
  let [stdout, stderr] = ['', ''];
  let isSent = signal === undefined;
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    if (isSent || !stderr.includes(when)) return;
    isSent = true;
    child.kill(signal);
    // As npm does, which hands on what the terminal has sent to both.
    setTimeout(() => child.kill(signal), 20);
  });
  return new Promise<{ status: number | null; stdout: string; stderr: string }>((resolve) =>
    child.on('close', (status) => resolve({ status, stdout, stderr })),
  );
}

const small = (name: string) => ['--backend', 'cpu', '--limit', '72', '--out', at(name), '--svg', at(`${name}.svg`)];

/** Names and contents of a folder's files. */
const contents = (name: string) =>
  readdirSync(at(name), { recursive: true, encoding: 'utf8' })
    .sort()
    .filter((file) => /\.\w+$/.test(file))
    .map((file) => [file, readFileSync(at(name, file), 'base64')]);

describe('the tour', () => {
  let stdout: string;
  beforeAll(async () => {
    const run = await start([...small('tour'), '--steps', '30', '--seeds', '2']);
    expect(run.stderr).not.toMatch(/error|warn/i);
    expect(run.status).toBe(0);
    ({ stdout } = run);
  });

  test('goes through its five parts in order', () => {
    const titles = [...stdout.matchAll(/^== (\d) of 5: (.+) ==$/gm)];
    expect(titles.map(([, number]) => number)).toEqual(['1', '2', '3', '4', '5']);
    expect(stdout).toMatch(/^cpu: JavaScript on .+\ntaken because: asked for by name$/m);
    expect(stdout.match(/one step ahead by /g)).toHaveLength(6 + 1);
    expect(stdout).toContain('30 steps of 16 waves, seeds 1 to 2');
    for (const name of ['LLA', 'softmax']) {
      for (const seed of [1, 2])
        expect(stdout).toMatch(new RegExp(`^${name}, seed ${seed}: mean squared error 0\\.\\d+, `, 'm'));
    }
    expect(stdout).toMatch(/npm run demo/);
  });

  test('leaves the models, the two pictures, and nothing else', () => {
    const files = contents('tour').map(([file]) => file.replace(/[0-9a-f]{16}/, 'DIGEST'));
    const model = (name: string) => [`${name}/model.json`, `${name}/weights-DIGEST.bin`];
    expect(files).toEqual([...model('localLinear'), 'losses.svg', ...model('softmax')]);
    expect(readFileSync(at('tour', 'losses.svg'), 'utf8')).toMatch(/^<svg [^]*training loss/);
    expect(readFileSync(at('tour.svg'), 'utf8')).toMatch(/^<svg /);
    expect(scratch()).toEqual([]);
  });

  test('the saved models are the trained ones: loaded here they have the errors that it printed', async () => {
    // Else the cpu backend advises to install another package.
    tf.enableProdMode();
    await useBackend('cpu');
    const { windows, next } = heldOutWaves(settingsOf(experiment, 'softmax', {}));
    const errors: string[] = [];
    for (const [name, label] of [
      ['localLinear', 'LLA'],
      ['softmax', 'softmax'],
    ]) {
      expect(stdout).toMatch(
        new RegExp(`^${label}: 16\\d weights, saved in .*${name}\n.* 4096 forecasts .*, every bit the same$`, 'm'),
      );
      const model = await loadLayersModel(directory(at('tour', name)));
      const forecast = tf.squeeze(model.predict(windows) as tf.Tensor, [2]);
      const [error] = await tf.mean(tf.squaredDifference(forecast, next)).data();
      errors.push(Number(error.toPrecision(3)).toString());
      expect(stdout).toContain(`\n${label}, seed 1: mean squared error ${errors.at(-1)},`);
    }
    expect(errors[0]).not.toBe(errors[1]);
  });

  // After the first: what an earlier tour left must survive.
  test('a signal in training ends it with code 130; the models of the tour before stay whole', async () => {
    cpSync(at('tour'), at('stopped'), { recursive: true });
    const before = contents('stopped');
    const { status, stderr, stdout } = await start([...small('stopped'), '--steps', '100000'], {
      when: 'waves, localLinear, seed 1: begins',
      signal: 'SIGINT',
    });
    expect({ status, stderr }).toMatchObject({ status: 130 });
    expect(stderr).toMatch(/\nstopped at a signal; nothing is half-written/);
    expect(stdout).not.toContain('== 4 of 5');
    expect(contents('stopped')).toEqual(before);
    expect(scratch()).toEqual([]);
  });

  test('a signal in the forecast ends it there', async () => {
    const { status, stdout } = await start(
      ['--steps', '5', '--backend', 'cpu', '--svg', at('none.svg'), '--out', at('none')],
      { when: 'choosing settings', signal: 'SIGTERM' },
    );
    expect(status).toBe(130);
    expect(stdout).not.toContain('== 3 of 5');
    expect(existsSync(at('none.svg'))).toBe(false);
    expect(contents('none')).toEqual([]);
  });
});

describe('bad arguments end with a message and exit code 1 before anything is computed:', () => {
  test.each<[string, () => string[], RegExp]>([
    ['steps', () => ['--steps', '0'], /'0' is invalid. It must be a whole number from 1 to 1000000/],
    ['seeds', () => ['--seeds', 'many'], /'many' is invalid. It must be a whole number from 1 to 100/],
    ['a backend', () => ['--backend', 'gpu'], /Allowed choices are auto, tensorflow, webgpu, wasm, cpu/],
    [
      'a folder below a file',
      () => {
        writeFileSync(at('file'), '');
        return ['--out', at('file', 'models')];
      },
      /cannot write .*losses\.svg: a part of its path is a file/,
    ],
    [
      'a file of the forecast',
      () => ['--seeds', '1', '--csv', at('no.csv')],
      /cannot read .*no\.csv: there is no such file/,
    ],
  ])('%s', async (_, args, message) => {
    const { status, stdout, stderr } = await start(args());
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^error: /);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  });
});

test('options of the forecast and none of the tour: the forecast alone', () => {
  const read = (...args: string[]) => readOptions(args, 'results');
  for (const args of [
    ['--csv', 'a.csv'],
    ['--lags', '3'],
    ['--limit', '99'],
    ['--json', 'a.json'],
    ['--svg', 'a.svg'],
  ]) {
    expect(read(...args).tour).toBeUndefined();
    expect(read(...args, '--backend', 'cpu', '--debug').tour).toBeUndefined();
    const both = read(...args, '--seeds', '1');
    expect(both.forecast).toEqual(read(...args).forecast);
    expect(both.tour).toMatchObject({ seeds: 1 });
  }
  for (const args of [[], ['--backend', 'wasm'], ['--steps', '9'], ['--out', 'here']]) {
    expect(read(...args).tour).toMatchObject({ seeds: 3 });
    expect(read(...args).forecast).toMatchObject({ lags: 8, svg: join('results', 'forecast.svg') });
  }
});

test('what was taken and what was not is said in the words of initBackend', () => {
  const text = backendText({
    backend: 'wasm',
    adapter: 'WebAssembly',
    reason: 'fastest of the 2 that work here',
    skipped: [{ backend: 'webgpu', reason: "initBackend: backend 'webgpu' finds\n no GPU" }],
  });
  expect(text).toBe('wasm: WebAssembly\ntaken because: fastest of the 2 that work here\nnot webgpu: finds no GPU');
});

test.each<[string, number[], number[], RegExp]>([
  ['LLA first', [0.1, 0.2], [0.3, 0.6], /LLA is ahead in every one of 2 runs each: .* softmax attention is 3 times/],
  ['softmax first', [0.4], [0.1], /Softmax attention is ahead in the only run of each: .* LLA is 4 times/],
  ['level', [0.1, 0.4], [0.3, 0.6], /No winner: the runs of the two overlap/],
  ['a loss that is no number', [0.1, NaN], [0.3, 0.6], /Not every run came to a result/],
])('what came out is said as it is: %s', (_, ours, theirs, verdict) => {
  const settings = settingsOf(experiment, 'softmax', {});
  const record =
    (attention: 'localLinear' | 'softmax') =>
    (error: number, index: number): RunRecord => ({
      key: { version: 1, model: 'waves', attention, seed: index + 1, backend: 'cpu', settings },
      ending: 'steps',
      step: 1,
      losses: [],
      evaluations: [],
      metrics: { error },
      weights: 1,
      made: { adapter: '', date: '', node: '', command: '', seconds: 1 },
    });
  expect(resultText(experiment, [...ours.map(record('localLinear')), ...theirs.map(record('softmax'))])).toMatch(
    verdict,
  );
});
