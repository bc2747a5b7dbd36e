/** What the tour says. */
import Table from 'cli-table3';
import type { InitializedBackend } from '../../src/node.js';
import type { Attention, Settings, TrainedExperiment } from '../trainer/experiment.js';
import type { RunRecord } from '../trainer/record.js';
import { digits, LABELS, tableOf } from '../trainer/summary.js';
import type { Reloaded } from './twins.js';

export const heading = (number: number, title: string): string => `\n== ${number} of 5: ${title} ==\n`;

/** In the words of `initBackend`, which chose. */
export function backendText({ backend, adapter, reason, skipped }: InitializedBackend): string {
  return [
    `${backend}: ${adapter}`,
    `taken because: ${reason}`,
    ...skipped.map(({ backend, reason }) => `not ${backend}: ${sentence(reason)}`),
  ].join('\n');
}

/** In one line, without the name of the function that found it. */
const sentence = (reason: string): string =>
  reason
    .replace(/^initBackend: (backend '\w+' )?/, '')
    .replace(/\s+/g, ' ')
    .trim();

export function taskText({ steps, batch, length, lags, rate }: Settings, seeds: number, yardstick: number): string {
  return [
    `Waves of different periods. At each of ${length} positions a model is shown the last ${lags} numbers and has to say the next`,
    'one; the period is to be found in what came before. One attention layer of two heads, one dense layer.',
    `Both twins have the same sizes, first values, batches and rate (${rate}): ${steps} steps of ${batch} waves, seeds 1 to ${seeds}.`,
    `To beat: ${digits(yardstick)}, the mean squared error of saying the last number again.`,
    '',
  ].join('\n');
}

export function runText({ metrics: [{ name, label }] }: TrainedExperiment, { key, metrics, made }: RunRecord): string {
  const value = metrics[name];
  const error = value === undefined ? 'no result: the loss is no number any more' : `${label} ${digits(value)}`;
  return `${LABELS[key.attention]}, seed ${key.seed}: ${error}, ${made.seconds.toFixed(1)} s`;
}

/** The table, and who came first, by the means; a lead that is smaller than the seeds' spread is none. */
export function resultText(experiment: TrainedExperiment, records: readonly RunRecord[]): string {
  return ['', drawn(tableOf(experiment, records)), verdict(experiment, records)].join('\n');
}

/** A table in Markdown as the forecast's tables are drawn. */
function drawn(markdown: string): string {
  const rows = markdown.split('\n').map((line) => line.replaceAll('**', '').split('|').slice(1, -1));
  const [head, , ...body] = rows.map((cells) => cells.map((text) => text.trim()));
  const table = new Table({
    head,
    colAligns: head.map((_, column) => (column === 0 ? 'left' : 'right')),
    style: { head: [], border: [], compact: true },
  });
  table.push(...body);
  return table.toString();
}

function verdict({ metrics: [{ name }] }: TrainedExperiment, records: readonly RunRecord[]): string {
  const valuesOf = (attention: Attention): number[] =>
    records.filter(({ key }) => key.attention === attention).map(({ metrics }) => metrics[name] ?? NaN);
  const [ours, theirs] = [valuesOf('localLinear'), valuesOf('softmax')];
  if (![...ours, ...theirs].every(Number.isFinite)) return 'Not every run came to a result.';
  if (Math.max(...ours) < Math.min(...theirs)) return lead('LLA', ours, 'softmax attention', theirs);
  if (Math.max(...theirs) < Math.min(...ours)) return lead('Softmax attention', theirs, 'LLA', ours);
  return 'No winner: the runs of the two overlap.';
}

function lead(first: string, smaller: readonly number[], second: string, larger: readonly number[]): string {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const times = digits(mean(larger) / mean(smaller));
  const runs = smaller.length > 1 ? `in every one of ${smaller.length} runs each` : 'in the only run of each';
  return `${first} is ahead ${runs}: the mean error of ${second} is ${times} times as large.`;
}

export function reloadedText(attention: Attention, { folder, weights, values, difference }: Reloaded): string {
  const found = difference === 0 ? 'every bit the same' : `largest difference ${difference}`;
  return [
    `${LABELS[attention]}: ${weights} weights, saved in ${folder}`,
    `  loaded from there: ${values} forecasts of waves that it was not trained on, ${found}`,
  ].join('\n');
}

/** Commands and pages, each with what is to be found there. */
export const FAREWELL = [
  ['npm run demo', 'the demos, in your browser'],
  ['npm start -- --csv FILE --column NAME', 'a forecast of a series of your own'],
  ['npm run train -- waves --compare', 'this comparison with every attention; models/README.md has more models'],
  ['npx tfjs-lla doctor', 'which backends work here, and what the others need'],
  ['docs/guide/add-an-lla-layer.md', 'put an LLA layer into a model of your own'],
]
  .map(([what, why]) => `  ${what.padEnd(39)}${why}`)
  .join('\n');
