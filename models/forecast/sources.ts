/** The series that come with the project, and one out of a CSV text; where files lie, the caller knows. */
import { numberColumn, parseTable } from './csv.js';
import type { Series } from './data.js';

/** The text of one of the files of `vega-datasets`. */
export type ReadText = (file: string) => Promise<string>;

export type DefaultSeries = { readonly title: string; readonly load: (read: ReadText) => Promise<Series> };

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

const GITHUB = 'hourly GitHub activity';

export const DEFAULT_SERIES: readonly DefaultSeries[] = [
  ...SOURCES.map(({ title, file, column, unit }): DefaultSeries => ({
    title,
    async load(read) {
      const { values } = numberColumn(await read(file), file, column);
      return { title, source: `vega-datasets/${file}, column '${column}'`, unit, values: values.slice(0, LENGTH) };
    },
  })),
  { title: GITHUB, load: githubActivity },
];

/** `github.csv` leaves out the hours in which nothing happened; as a series in time they count as 0. */
async function githubActivity(read: ReadText): Promise<Series> {
  const file = 'github.csv';
  const text = await read(file);
  const { rows } = parseTable(text, file);
  const counts = numberColumn(text, file, 'count').values;
  const hours = rows.map(({ cells }) => Date.parse(`${cells[0].replaceAll('/', '-').replace(' ', 'T')}Z`) / 3_600_000);
  const values = new Array<number>(hours[hours.length - 1] - hours[0] + 1).fill(0);
  hours.forEach((hour, index) => (values[hour - hours[0]] = counts[index]));
  return {
    title: GITHUB,
    source: `vega-datasets/${file}, column 'count'`,
    unit: 'events',
    values: values.slice(0, LENGTH),
  };
}

/** One column of a CSV text; `source` is the name that messages give the text. */
export function seriesOf(text: string, source: string, column: string | undefined): Series {
  const { name, values } = numberColumn(text, source, column);
  return { title: name, source: `${source}, column '${name}'`, unit: name, values };
}
