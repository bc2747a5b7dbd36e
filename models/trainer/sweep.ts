/**
 * Which settings suit each attention: one setting after the other, each value with the best of those before it. Its seed
 * is none of a comparison's.
 */
import { join } from 'node:path';
import { formatTable } from '../../src/cli/table.js';
import { InputError } from '../common/input_error.js';
import { type Host, now, runOnce } from './compare.js';
import { type Attention, ATTENTIONS, type Experiment, isTrained, type Settings } from './experiment.js';
import { type Options, settingsOf } from './options.js';
import { digits, LABELS } from './summary.js';
import { type Trial, writeSweep } from './sweep_file.js';

/** Far from the seeds of comparisons, which begin at 1. */
const SEED = 1000;

/** Attentions without a ridge have nothing to try there. */
const HAS_RIDGE: readonly Attention[] = ['localLinear', 'mesa'];

/** Tries all; whether it came to the end. */
export async function sweep(given: Experiment, options: Options, host: Host): Promise<boolean> {
  if (!isTrained(given)) throw new InputError(`${given.name} is not trained: it chooses settings by itself`);
  // What an earlier sweep chose must not be where this one begins, which is the same for every attention.
  const experiment = { ...given, chosen: undefined };
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
        const set: Settings = { ...best?.set, [name]: value };
        const label = Object.entries(settingsOf(experiment, attention, { ...options.set, ...set }))
          .filter(([key]) => Object.hasOwn(experiment.sweep, key))
          .map(([key, number]) => `${key}=${number}`)
          .join(',');
        if (tried.has(label)) continue;
        tried.add(label);
        const out = join(host.out, 'sweep', label);
        const how = { ...options, keepCheckpoint: false };
        const record = await runOnce(experiment, attention, SEED, { ...options.set, ...set }, how, { ...host, out });
        if (record === undefined) return false;
        const measured = record.metrics[metric.name] ?? null;
        const trial: Trial = { attention, set, value: measured, ending: record.ending };
        trials.push(trial);
        console.log(
          `${attention}, ${label}: ${metric.label} ${digits(measured ?? NaN)}, ${record.made.seconds.toFixed(1)} s`,
        );
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
    digits(value ?? NaN),
    chosen[attention] === set ? '<- chosen' : ending === 'diverged' ? 'diverged' : '',
  ]);
  console.log(formatTable([['attention', 'settings', metric.label, ''], ...rows]));
  const file = join(host.out, 'sweep.json');
  const { backend, adapter, command } = host;
  const [model, date] = [experiment.name, now()];
  await writeSweep(file, { model, backend, adapter, date, command, metric: metric.name, trials, chosen });
  console.log(`written to ${file}`);
  return true;
}

/** A value that is none is the worst. */
function isBetter(a: Trial, b: Trial, better: 'higher' | 'lower'): boolean {
  const sign = better === 'higher' ? 1 : -1;
  return (a.value === null ? -Infinity : sign * a.value) > (b.value === null ? -Infinity : sign * b.value);
}
