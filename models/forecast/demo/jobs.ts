/** What the page *Forecast it* asks its worker to do. Files are read here and go nowhere else. */
import co2 from 'vega-datasets/data/co2-concentration.csv?url';
import github from 'vega-datasets/data/github.csv?url';
import hourly from 'vega-datasets/data/seattle-weather-hourly-normals.csv?url';
import weather from 'vega-datasets/data/seattle-weather.csv?url';
import sp500 from 'vega-datasets/data/sp500-2000.csv?url';
import { InputError } from '../../common/input_error.js';
import { parseTable } from '../csv.js';
import { fewestValues, type Series } from '../data.js';
import { compare, type OnProgress, type Report } from '../job.js';
import { DEFAULT_SERIES, seriesOf } from '../sources.js';

const FILES: Readonly<Record<string, string>> = {
  'co2-concentration.csv': co2,
  'github.csv': github,
  'seattle-weather-hourly-normals.csv': hourly,
  'seattle-weather.csv': weather,
  'sp500-2000.csv': sp500,
};

async function readDataset(file: string): Promise<string> {
  const response = await fetch(FILES[file]);
  if (!response.ok) throw new Error(`cannot load ${file}: ${response.status} ${response.statusText}`);
  return response.text();
}

/** A series by its place in `titles`, or a column of a file of the visitor's. */
export type Source = { readonly index: number } | { readonly file: File; readonly column: string };

export interface Request {
  readonly source: Source;
  readonly lags: number;
  /** Values that are taken of a long series. */
  readonly limit: number;
}

export interface Answer {
  readonly report: Report;
  /** Values that the source has. */
  readonly available: number;
}

async function read(source: Source): Promise<Series> {
  if ('index' in source) return DEFAULT_SERIES[source.index].load(readDataset);
  const { file, column } = source;
  return seriesOf(await file.text(), file.name, column);
}

export const jobs = {
  titles: () => DEFAULT_SERIES.map(({ title }) => title),

  /** The names of the columns of a CSV file. */
  async columns(file: File): Promise<readonly string[]> {
    return parseTable(await file.text(), file.name).header;
  },

  async forecast({ source, lags, limit }: Request, onProgress: OnProgress): Promise<Answer> {
    const series = await read(source);
    const fewest = fewestValues(lags);
    if (limit < fewest)
      throw new InputError(`at least ${fewest} values are needed for ${lags} lags; ${limit} are to be taken`);
    const report = await compare({ ...series, values: series.values.slice(0, limit) }, lags, onProgress);
    return { report, available: series.values.length };
  },
};
