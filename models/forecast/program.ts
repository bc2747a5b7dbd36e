/** The forecast as a program: reads series, prints a table for each, writes a picture. `npm start` runs it. */
import { relative } from 'node:path';
import type { InitializedBackend } from '../../src/node.js';
import { assertWritable, write } from '../common/files.js';
import type { Series } from './data.js';
import { windowsOf } from './data.js';
import { defaultSeries, ownSeries } from './files.js';
import type { Report } from './job.js';
import type { Options } from './options.js';

/** Time grows with the square of the length; from here on it is worth telling that it can be cut. */
const LONG = 10_000;

/** A file as seen from the root of the project, where it lies in there. */
export const shown = (file: string): string => {
  const near = relative('.', file);
  return near.startsWith('..') ? file : near;
};

/** The series to forecast. Everything that can be wrong with input and outputs is found here, before any computing. */
export async function readSeries({ csv, column, limit, lags, svg, json }: Options): Promise<Series[]> {
  const whole = csv === undefined ? await defaultSeries() : [await ownSeries(csv, column)];
  const series = whole.map((one) => ({ ...one, values: one.values.slice(0, limit) }));
  for (const one of series) windowsOf(one, lags);
  for (const file of [svg, ...(json === undefined ? [] : [json])]) await assertWritable(file);
  for (const { source, values } of series) {
    if (values.length > LONG)
      console.error(`${source}: ${values.length} values take long; --limit ${LONG} takes fewer`);
  }
  return series;
}

/** @param afterTrial Called after each setting that was tried; what it throws ends the forecast. */
export async function forecastSeries(
  series: readonly Series[],
  { lags, svg, json }: Options,
  { backend, adapter }: InitializedBackend,
  afterTrial: () => void | Promise<void> = () => undefined,
): Promise<void> {
  // Loaded here and not above: tfjs and vega take longer to load than a wrong argument takes to be found.
  const { compare } = await import('./job.js');
  const { plot } = await import('./plot.js');
  const { showProgress } = await import('./progress.js');
  const { summary, tableOf } = await import('./table.js');
  const started = Date.now();
  console.log(`forecasts one step ahead by test-time regression; backend ${backend} (${adapter})\n`);
  const reports: Report[] = [];
  for (const one of series) {
    const progress = showProgress(one.title);
    try {
      reports.push(
        await compare(one, lags, async (...trial) => {
          await progress.update(...trial);
          await afterTrial();
        }),
      );
    } finally {
      progress.stop();
    }
    console.log(`${tableOf(reports[reports.length - 1])}\n`);
  }
  const seconds = (Date.now() - started) / 1000;
  console.log('MSE: mean squared error of the series standardised by mean and deviation of its first third');
  if (reports.length > 1) console.log(summary(reports));
  await write(svg, await plot(reports));
  console.log(`picture of forecast against truth: ${shown(svg)}`);
  if (json !== undefined) {
    await write(json, `${JSON.stringify({ backend, adapter, lags, seconds, reports })}\n`);
    console.log(`settings, errors and forecasts: ${shown(json)}`);
  }
  console.log(`done in ${seconds.toFixed(1)} s`);
}
