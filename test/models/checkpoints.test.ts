/** What a run refuses to go on from, and arguments that make no sense: each with a message that says what to do. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { readOptions } from '../../models/trainer/options.js';
import { MODELS } from '../../models/trainer/registry.js';
import { checkpointFile } from '../../models/trainer/run.js';
import { useBackend } from '../backends.js';
import { remove, ROOT, temporaryFolder } from '../consumer.js';
import { argumentsOf, runHere } from './runs.js';

jest.setTimeout(60_000);

const MODEL = 'associative_recall';
const small = ['--set', 'logEvery=1', '--set', 'evaluated=1', '--steps', '6'];
let folder: string;
let good: string;

beforeAll(async () => {
  tf.enableProdMode();
  await useBackend('cpu');
  folder = temporaryFolder();
  const out = join(folder, 'paused');
  let intervals = 0;
  expect(await runHere(argumentsOf(MODEL, out, ...small), () => ++intervals > 2)).toBe(false);
  good = checkpointFile(join(out, 'localLinear_seed1'));
});
afterAll(() => remove(folder));

/** Puts a checkpoint where the run of `name` looks for one, and goes on from it. */
async function goOn(name: string, change: (bytes: Buffer) => Uint8Array, ...more: string[]): Promise<boolean> {
  const out = join(folder, name);
  const attention = more.includes('softmax') ? 'softmax' : 'localLinear';
  const file = checkpointFile(join(out, `${attention}_seed${more.includes('--seed') ? 2 : 1}`));
  mkdirSync(dirname(file), { recursive: true });
  copyFileSync(good, file);
  writeFileSync(file, change(readFileSync(good)));
  return runHere(argumentsOf(MODEL, out, ...small, ...more));
}

const same = (bytes: Buffer) => bytes;
const flipped = (at: (size: number) => number) => (bytes: Buffer) => {
  const changed = Buffer.from(bytes);
  changed[at(bytes.length)] ^= 1;
  return changed;
};
const replaced = (from: string, to: string) => (bytes: Buffer) =>
  Buffer.from(bytes.toString('latin1').replace(from, to), 'latin1');

describe('a checkpoint that does not fit', () => {
  test.each<[name: string, change: (bytes: Buffer) => Uint8Array, more: string[], message: RegExp]>([
    ['empty', () => Buffer.alloc(0), [], /not a checkpoint, or it is damaged; --restart/],
    ['cut', (bytes) => bytes.subarray(0, bytes.length - 5), [], /damaged \(its digest does not fit\); --restart/],
    ['cut in its header', (bytes) => bytes.subarray(0, 100), [], /not a checkpoint, or it is damaged/],
    ['text', () => Buffer.from('{"this is": "no safetensors file"}'), [], /not a checkpoint, or it is damaged/],
    ['one bit in a weight', flipped((size) => size - 3), [], /damaged \(its digest does not fit\)/],
    ['other step', replaced('\\"step\\":2', '\\"step\\":3'), [], /damaged \(its digest does not fit\)/],
    ['another setting', same, ['--rate', '0.5'], /is of setting rate=0.01, not 0.5; --restart begins anew/],
    ['another shape', same, ['--set', 'width=8'], /is of setting width=16, not 8/],
    ['another seed', same, ['--seed', '2'], /is of seed 1, not 2/],
    ['another attention', same, ['--attention', 'softmax'], /is of attention localLinear, not softmax/],
  ])('%s', async (name, change, more, message) => {
    const { numTensors } = tf.memory();
    await expect(goOn(name, change, ...more)).rejects.toThrow(message);
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test('--restart begins anew', async () => {
    jest.spyOn(console, 'log').mockImplementation(() => undefined);
    expect(await goOn('again', () => Buffer.alloc(3), '--restart', '--steps', '1')).toBe(true);
  });

  test('as it is, it serves', async () => {
    jest.spyOn(console, 'log').mockImplementation(() => undefined);
    expect(await goOn('fits', same)).toBe(true);
  });
});

describe('arguments', () => {
  const read = (...args: string[]) => readOptions(args, Object.keys(MODELS));

  test('that contradict each other or name nothing', async () => {
    expect(() => read('translation')).toThrow("there is no model 'translation'; there are test_time_regression, ");
    expect(() => read(MODEL, '--compare', '--render')).toThrow('--compare and --render exclude each other');
    await expect(runHere([MODEL, '--set', 'widht=3'])).rejects.toThrow(
      /has no setting 'widht'; it has steps, batch, rate/,
    );
    await expect(runHere([MODEL, '--set', 'steps=1.5'])).rejects.toThrow('steps must be a whole number of at least 1');
    await expect(runHere([MODEL, '--set', 'vocabulary=7'])).rejects.toThrow('vocabulary must be even');
    await expect(runHere(['state_tracking', '--set', 'elements=9'])).rejects.toThrow('elements must be');
    await expect(runHere(['test_time_regression', '--attention', 'parallax'])).rejects.toThrow(
      'test_time_regression does not compare parallax',
    );
  });

  test.each([
    [['--attention', 'hard'], "'hard' is no attention: choose from localLinear, softmax"],
    [['--backend', 'gpu'], "'gpu' is invalid"],
    [['--rate', '-1'], "'-1' is invalid. It must be a number of at least 0."],
    [['--set', 'width'], "'width' is invalid. It must be NAME=NUMBER."],
    [['--seeds', '0'], "'0' is invalid. It must be a whole number of at least 1."],
  ])('%p', (args, message) => {
    const written: string[] = [];
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0);
    const exit = jest.spyOn(process, 'exit').mockImplementation((code) => {
      throw new Error(`exit ${String(code)}`);
    });
    expect(() => read(MODEL, ...args)).toThrow('exit 1');
    expect(written.join('')).toContain(message);
    exit.mockRestore();
    jest.restoreAllMocks();
  });

  test('the program says what is wrong without a stack', () => {
    const args = ['--import', 'tsx', 'models/trainer/main.ts', 'state_tracking', '--render', '--out', folder];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
    expect({ status, stdout, stderr }).toEqual({
      status: 1,
      stdout: '',
      stderr: `error: ${folder}: there is no finished run of state_tracking\n`,
    });
  });
});
