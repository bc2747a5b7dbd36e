/** `npm start`: the first job, on real input. README.md says what it does and what it found. */
import { relative } from 'node:path';
import { assertWritable, write } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import type { Series } from './data.js';
import { windowsOf } from './data.js';
import { defaultSeries, ownSeries, RESULTS } from './files.js';
import type { Report } from './job.js';
import type { Options } from './options.js';
import { readOptions } from './options.js';

/** Time grows with the square of the length; from here on it is worth telling that it can be cut. */
const LONG = 10_000;

const shown = (file: string): string => {
  const near = relative('.', file);
  return near.startsWith('..') ? file : near;
};

async function readSeries({ csv, column, limit }: Options): Promise<Series[]> {
  const series = csv === undefined ? await defaultSeries() : [await ownSeries(csv, column)];
  return series.map((one) => ({ ...one, values: one.values.slice(0, limit) }));
}

async function run(options: Options): Promise<void> {
  const series = await readSeries(options);
  // Everything that can be wrong with the input is found before the first second of computing is spent.
  for (const one of series) windowsOf(one, options.lags);
  const outputs = [options.svg, ...(options.json === undefined ? [] : [options.json])];
  for (const file of outputs) await assertWritable(file);

  for (const { source, values } of series) {
    if (values.length > LONG)
      console.error(`${source}: ${values.length} values take long; --limit ${LONG} takes fewer`);
  }
  // Loaded here and not above: tfjs and vega take longer to load than a wrong argument takes to be found.
  const { enableProdMode } = await import('@tensorflow/tfjs-core');
  const { initBackend } = await import('../../src/node.js');
  const { compare } = await import('./job.js');
  const { plot } = await import('./plot.js');
  const { showProgress } = await import('./progress.js');
  const { summary, tableOf } = await import('./table.js');
  // Without it the cpu backend advises on every start to install another package.
  enableProdMode();
  const { backend, adapter } = await initBackend(options.backend);
  const started = Date.now();
  console.log(`forecasts one step ahead by test-time regression; backend ${backend} (${adapter})\n`);
  const reports: Report[] = [];
  for (const one of series) {
    const progress = showProgress(one.title);
    try {
      reports.push(await compare(one, options.lags, progress.update));
    } finally {
      progress.stop();
    }
    console.log(`${tableOf(reports[reports.length - 1])}\n`);
  }
  const seconds = (Date.now() - started) / 1000;
  console.log('MSE: mean squared error of the series standardised by mean and deviation of its first third');
  if (reports.length > 1) console.log(summary(reports));
  await write(options.svg, await plot(reports));
  console.log(`picture of forecast against truth: ${shown(options.svg)}`);
  if (options.json !== undefined) {
    const record = { backend, adapter, lags: options.lags, seconds, reports };
    await write(options.json, `${JSON.stringify(record)}\n`);
    console.log(`settings, errors and forecasts: ${shown(options.json)}`);
  }
  console.log(`done in ${seconds.toFixed(1)} s`);
}

let debug = process.argv.includes('--debug');
try {
  const options = readOptions(process.argv.slice(2), RESULTS);
  debug = options.debug;
  await run(options);
} catch (error) {
  // A user's mistake needs no stack; a mistake of ours shows it on request.
  if (debug || !(error instanceof Error)) console.error(error);
  else console.error(`error: ${error.message}${error instanceof InputError ? '' : ' (--debug shows where)'}`);
  process.exitCode = 1;
}
