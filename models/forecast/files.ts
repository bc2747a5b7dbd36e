/** The files of a run: the series that come with the project, the user's own, and where results may be written. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readText } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import { numberColumn, parseTable } from './csv.js';
import type { Series } from './data.js';

/** Where the results of the committed run lie, and those of later runs go. */
export const RESULTS = fileURLToPath(new URL('results/', import.meta.url));

/** Values taken of a long default series: enough to show the operators, few enough to wait for. */
const LENGTH = 1500;

type Source = { readonly title: string; readonly file: string; readonly column: string; readonly unit: string };

const SOURCES: readonly Source[] = [
  {
    title: 'hourly temperature, Seattle (normals)',
    file: 'seattle-weather-hourly-normals.csv',
    column: 'temperature',
    unit: 'deg C',
  },
  {
    title: 'hourly pressure, Seattle (normals)',
    file: 'seattle-weather-hourly-normals.csv',
    column: 'pressure',
    unit: 'hPa',
  },
  { title: 'daily maximum temperature, Seattle', file: 'seattle-weather.csv', column: 'temp_max', unit: 'deg C' },
  { title: 'monthly CO2, Mauna Loa', file: 'co2-concentration.csv', column: 'CO2', unit: 'ppm' },
  { title: 'daily close, S&P 500', file: 'sp500-2000.csv', column: 'close', unit: 'points' },
];

/** The series that `vega-datasets`, a development dependency, carries. */
export async function defaultSeries(): Promise<Series[]> {
  const folder = datasets();
  const series = await Promise.all(
    SOURCES.map(async ({ title, file, column, unit }): Promise<Series> => {
      const source = `vega-datasets/${file}, column '${column}'`;
      const { values } = numberColumn(await readText(join(folder, file)), file, column);
      return { title, source, unit, values: values.slice(0, LENGTH) };
    }),
  );
  return [...series, await githubActivity(folder)];
}

function datasets(): string {
  try {
    // The package exports its program only; the data lie beside it.
    return join(dirname(createRequire(import.meta.url).resolve('vega-datasets')), '..', 'data');
  } catch {
    throw new InputError('the default series come with the package vega-datasets, which is not installed: run npm ci');
  }
}

/** `github.csv` leaves out the hours in which nothing happened; as a series in time they count as 0. */
async function githubActivity(folder: string): Promise<Series> {
  const file = 'github.csv';
  const text = await readText(join(folder, file));
  const { rows } = parseTable(text, file);
  const counts = numberColumn(text, file, 'count').values;
  const hours = rows.map(({ cells }) => Date.parse(`${cells[0].replaceAll('/', '-').replace(' ', 'T')}Z`) / 3_600_000);
  const values = new Array<number>(hours[hours.length - 1] - hours[0] + 1).fill(0);
  hours.forEach((hour, index) => (values[hour - hours[0]] = counts[index]));
  return {
    title: 'hourly GitHub activity',
    source: `vega-datasets/${file}, column 'count'`,
    unit: 'events',
    values: values.slice(0, LENGTH),
  };
}

/** One column of the user's file. */
export async function ownSeries(file: string, column: string | undefined): Promise<Series> {
  const { name, values } = numberColumn(await readText(file), file, column);
  return { title: name, source: `${file}, column '${name}'`, unit: name, values };
}
