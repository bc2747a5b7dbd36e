/** The files of a run: the series that come with the project, the user's own, and where results may be written. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readText } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import type { Series } from './data.js';
import { DEFAULT_SERIES, seriesOf } from './sources.js';

/** Where the results of the committed run lie, and those of later runs go. */
export const RESULTS = fileURLToPath(new URL('results/', import.meta.url));

/** The series that `vega-datasets`, a development dependency, carries. */
export function defaultSeries(): Promise<Series[]> {
  const folder = datasets();
  return Promise.all(DEFAULT_SERIES.map(({ load }) => load((file) => readText(join(folder, file)))));
}

function datasets(): string {
  try {
    // The package exports its program only; the data lie beside it.
    return join(dirname(createRequire(import.meta.url).resolve('vega-datasets')), '..', 'data');
  } catch {
    throw new InputError('the default series come with the package vega-datasets, which is not installed: run npm ci');
  }
}

/** One column of the user's file. */
export async function ownSeries(file: string, column: string | undefined): Promise<Series> {
  return seriesOf(await readText(file), file, column);
}
