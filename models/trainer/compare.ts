/** Runs: every attention with every seed, each in a folder of its own; what is there already is not run again. */
import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../common/input_error.js';
import { type Attention, ATTENTIONS, type Experiment, isTrained, type Metrics, type Settings } from './experiment.js';
import { type Options, settingsOf } from './options.js';
import { difference, readRecord, type RunKey, type RunRecord, VERSION, writeRecord } from './record.js';
import { run } from './run.js';
import { readChosen } from './sweep_file.js';

/** Where and how runs are run. */
export interface Host {
  readonly backend: string;
  readonly adapter: string;
  readonly out: string;
  readonly command: string;
  readonly mustPause: () => boolean;
}

const recordFile = (out: string, { attention, seed }: Pick<RunKey, 'attention' | 'seed'>): string =>
  join(out, `${attention}_seed${seed}`, 'record.json');

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

export const now = (): string => new Date().toISOString().slice(0, 10);

const shownMetrics = (experiment: Experiment, metrics: Metrics): string =>
  experiment.metrics.map(({ name, label }) => `${label} ${metrics[name]?.toPrecision(4) ?? '-'}`).join(', ');

/** The record of a run, which is run where it is not there; nothing where it had to pause. */
export async function runOnce(
  experiment: Experiment,
  attention: Attention,
  seed: number,
  set: Settings,
  options: Pick<Options, 'restart' | 'checkpointSeconds'> & { readonly keepCheckpoint: boolean },
  host: Host,
): Promise<RunRecord | undefined> {
  const settings = settingsOf(experiment, attention, set);
  const key: RunKey = { version: VERSION, model: experiment.name, attention, seed, backend: host.backend, settings };
  const file = recordFile(host.out, key);
  const folder = join(file, '..');
  if (options.restart) await rm(folder, { recursive: true, force: true });
  if (await exists(file)) {
    const record = await readRecord(file);
    const other = difference(record.key, key);
    if (other === undefined) return record;
    throw new InputError(`${file}: there is a run with ${other}; --restart replaces it, --out takes another folder`);
  }
  const start = performance.now();
  const result = isTrained(experiment)
    ? await run(experiment, key, {
        folder,
        keepCheckpoint: options.keepCheckpoint,
        checkpointEvery: options.checkpointSeconds,
        mustPause: host.mustPause,
      })
    : await measured(experiment, key, host);
  if (result === undefined) return undefined;
  const { seconds = (performance.now() - start) / 1000, ...rest } = result;
  const { adapter, command } = host;
  const record: RunRecord = { ...rest, made: { adapter, date: now(), node: process.version, command, seconds } };
  await writeRecord(file, record);
  return record;
}

async function measured(
  experiment: Exclude<Experiment, { start: unknown }>,
  key: RunKey,
  { mustPause }: Host,
): Promise<(Omit<RunRecord, 'made'> & { readonly seconds?: number }) | undefined> {
  if (mustPause()) return undefined;
  const { metrics, curves, notes } = await experiment.measure(key.attention, key.settings, key.seed);
  return { key, ending: 'steps', step: 0, losses: [], evaluations: [], metrics, weights: 0, curves, notes };
}

/** Runs all that the options ask for; whether it came to the end. */
export async function compare(experiment: Experiment, options: Options, host: Host): Promise<boolean> {
  const isComparison = options.job === 'compare';
  const attentions =
    options.attentions ??
    (isComparison || !isTrained(experiment) ? (experiment.attentions ?? ATTENTIONS) : ['localLinear']);
  const unknown = attentions.find((attention) => !(experiment.attentions ?? ATTENTIONS).includes(attention));
  if (unknown !== undefined) throw new InputError(`${experiment.name} does not compare ${unknown}`);
  const seeds = options.seeds ?? (isComparison ? 3 : 1);
  const chosen = options.chosen === undefined ? {} : await readChosen(options.chosen, experiment);
  const setFor = (attention: Attention): Settings => ({ ...chosen[attention], ...options.set });
  // What is wrong with a setting is found before the first step.
  for (const attention of attentions) settingsOf(experiment, attention, setFor(attention));
  // Seed by seed: a comparison that has to pause has as many of each attention.
  for (let seed = options.seed; seed < options.seed + seeds; seed++) {
    for (const attention of attentions) {
      const how = { ...options, keepCheckpoint: !isComparison };
      const record = await runOnce(experiment, attention, seed, setFor(attention), how, host);
      if (record === undefined) return false;
      const { ending, step, metrics, made } = record;
      const steps = isTrained(experiment) ? ` after ${step} steps (${ending})` : '';
      const found = shownMetrics(experiment, metrics);
      console.log(`${attention}, seed ${seed}: ${found}${steps}, ${made.seconds.toFixed(1)} s`);
    }
  }
  return true;
}
