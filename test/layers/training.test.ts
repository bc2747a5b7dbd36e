/** Every kind of layer trains, and an interruption leaves no trace: saved, loaded by another process, continued. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { directory } from '../../src/directory.js';
import { backends, useBackend } from '../backends.js';
import { remove, ROOT, temporaryFolder } from '../consumer.js';
import { relativeMax } from '../values.js';
import { kinds } from './kinds.js';
import { fingerprint, forms, makeModel, predict, train } from './training_models.js';

interface Learned {
  readonly loaded: Record<string, string>;
  readonly losses: number[];
  readonly continued: Record<string, string>;
}

const BEFORE = 8;
const AFTER = 6;

let folder: string;
/** Of every model, on every backend. */
const predictions: Record<string, number[][]> = {};
const uninterrupted: Record<string, Learned> = {};
let interrupted: Record<string, Learned>;

beforeAll(async () => {
  await useBackend('cpu');
  folder = temporaryFolder();
  for (const kind of kinds) {
    for (const form of forms) {
      const model = makeModel(kind, form);
      const name = `${kind}_${form}`;
      const first = await train(model, kind, form, BEFORE);
      await model.save(directory(join(folder, name)), { includeOptimizer: true });
      const loaded = await fingerprint(model, kind, form);
      const losses = [...first, ...(await train(model, kind, form, AFTER))];
      uninterrupted[name] = { loaded, losses, continued: await fingerprint(model, kind, form) };
      predictions[name] = [];
      for (const backend of backends) {
        await useBackend(backend);
        predictions[name].push(await predict(model, kind, form));
      }
      await useBackend('cpu');
      model.dispose();
    }
  }
  const script = join(__dirname, 'continue_training.ts');
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', script, folder, String(AFTER)], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`the other process failed:\n${stderr}`);
  interrupted = JSON.parse(stdout) as Record<string, Learned>;
});

afterAll(() => {
  remove(folder);
});

describe.each(kinds)('%s', (kind) => {
  test.each(forms)('%s: learns', (form) => {
    const { losses } = uninterrupted[`${kind}_${form}`];
    expect(losses).toHaveLength(BEFORE + AFTER);
    expect(losses.every(Number.isFinite)).toBe(true);
    expect(losses[losses.length - 1]).toBeLessThan(0.97 * losses[0]);
  });

  test.each(forms)('%s: predicts the same on every backend', (form) => {
    const [first, ...others] = predictions[`${kind}_${form}`];
    expect(others).toHaveLength(backends.length - 1);
    for (const other of others) expect(relativeMax(other, first)).toBeLessThan(1e-4);
  });

  test.each(forms)('%s: another process loads the same bits', (form) => {
    const name = `${kind}_${form}`;
    expect(interrupted[name].loaded).toEqual(uninterrupted[name].loaded);
  });

  test.each(forms)('%s: and continues to the same numbers', (form) => {
    const name = `${kind}_${form}`;
    expect(interrupted[name].losses).toEqual(uninterrupted[name].losses.slice(BEFORE));
    expect(interrupted[name].continued).toEqual(uninterrupted[name].continued);
    expect(interrupted[name].continued).not.toEqual(interrupted[name].loaded);
  });
});
