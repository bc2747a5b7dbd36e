/**
 * Which settings suit each attention: one setting after the other, each value with the best of those before it. Its seed
 * is none of a comparison's.
 */
import { join } from 'node:path';
import { formatTable } from '../../src/cli/table.js';
import { writeAtomically } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import { type Host, runOnce } from './compare.js';
import { type Attention, ATTENTIONS, type Experiment, isTrained, type Settings } from './experiment.js';
import { type Options, settingsOf } from './options.js';
import type { RunRecord } from './record.js';
import { digits, LABELS } from './summary.js';

/** Far from the seeds of comparisons, which begin at 1. */
const SEED = 1000;

/** Attentions without a ridge have nothing to try there. */
const HAS_RIDGE: readonly Attention[] = ['localLinear', 'mesa'];

interface Trial {
  readonly attention: Attention;
  readonly set: Settings;
  readonly value: number;
  readonly ending: RunRecord['ending'];
}

/** Tries all; whether it came to the end. */
export async function sweep(experiment: Experiment, options: Options, host: Host): Promise<boolean> {
  if (!isTrained(experiment)) throw new InputError(`${experiment.name} is not trained: it chooses settings by itself`);
  const attentions = options.attentions ?? experiment.attentions ?? ATTENTIONS;
  const [metric] = experiment.metrics;
  const trials: Trial[] = [];
  const chosen: Partial<Record<Attention, Settings>> = {};
  for (const attention of attentions) {
    let best: Trial | undefined;
    const tried = new Set<string>();
    for (const [name, values] of Object.entries(experiment.sweep)) {
      if (name === 'ridge' && !HAS_RIDGE.includes(attention)) continue;
      for (const value of values) {
        const set: Settings = { ...options.set, ...best?.set, [name]: value };
        const label = Object.entries(settingsOf(experiment, attention, set))
          .filter(([key]) => Object.hasOwn(experiment.sweep, key))
          .map(([key, number]) => `${key}=${number}`)
          .join(',');
        if (tried.has(label)) continue;
        tried.add(label);
        const out = join(host.out, 'sweep', label);
        const how = { ...options, keepCheckpoint: false };
        const record = await runOnce(experiment, attention, SEED, set, how, { ...host, out });
        if (record === undefined) return false;
        const measured = record.metrics[metric.name] ?? NaN;
        const trial: Trial = { attention, set, value: measured, ending: record.ending };
        trials.push(trial);
        console.log(`${attention}, ${label}: ${metric.label} ${digits(measured)}, ${record.made.seconds.toFixed(1)} s`);
        if (record.ending !== 'diverged' && (best === undefined || isBetter(trial, best, metric.better))) best = trial;
      }
    }
    if (best !== undefined) chosen[attention] = best.set;
  }
  const rows = trials.map(({ attention, set, value, ending }) => [
    LABELS[attention],
    Object.entries(set)
      .map(([name, number]) => `${name}=${number}`)
      .join(' '),
    digits(value),
    chosen[attention] === set ? '<- chosen' : ending === 'diverged' ? 'diverged' : '',
  ]);
  console.log(formatTable([['attention', 'settings', metric.label, ''], ...rows]));
  const file = join(host.out, 'sweep.json');
  const { backend, adapter, command } = host;
  await writeAtomically(
    file,
    `${JSON.stringify({ backend, adapter, command, metric: metric.name, trials, chosen }, null, 1)}\n`,
  );
  console.log(`written to ${file}`);
  return true;
}

const isBetter = (a: Trial, b: Trial, better: 'higher' | 'lower'): boolean =>
  better === 'higher' ? a.value > b.value : a.value < b.value;
