/** The options of the forecast; `models/tour/options.ts` is the command line that has them. */
import { basename, extname, join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { InputError } from '../common/input_error.js';
import { userPath } from '../common/user_path.js';
import { MOST_LAGS } from './data.js';

export const BACKENDS = ['auto', 'tensorflow', 'webgpu', 'wasm', 'cpu'] as const;
export type Backend = (typeof BACKENDS)[number];

export type Options = {
  readonly csv?: string;
  readonly column?: string;
  readonly lags: number;
  readonly limit?: number;
  readonly json?: string;
  readonly svg: string;
  readonly backend: Backend;
  readonly debug: boolean;
};

export function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      const range = Number.isFinite(most) ? `from ${least} to ${most}` : `of at least ${least}`;
      throw new InvalidArgumentError(`It must be a whole number ${range}.`);
    }
    return value;
  };
}

export const pathOf = userPath('start');

/** Letters and digits of any script stay, so that the picture's name shows what it is of. */
const slug = (text: string): string => text.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');

function pictureName(csv: string | undefined, column: string | undefined): string {
  if (csv === undefined) return 'forecast.svg';
  const parts = [basename(csv, extname(csv)), column ?? ''].map(slug).filter((part) => part !== '');
  return `own-${parts.join('-')}.svg`;
}

/** What commander reads before defaults are filled in and names are compared. */
export type GivenOptions = Omit<Options, 'svg'> & { readonly svg?: string };

/** Adds the options that are the forecast's own, without the `--backend` and `--debug` of the program around it. */
export function addForecastOptions(command: Command): Command {
  return command
    .option('--csv <file>', 'a CSV file of your own, instead of the series that come with the project', pathOf)
    .option('--column <name>', 'the column of numbers in it')
    .option('--lags <n>', 'how many past values a forecast is made from', integer(1, MOST_LAGS), 8)
    .option('--limit <n>', 'take only the first n values of a series', integer(1, Infinity))
    .option('--json <file>', 'write settings, errors and forecasts to this file', pathOf)
    .option('--svg <file>', 'write the picture to this file', pathOf);
}

/** @param results Where the picture goes if `--svg` names no file. */
export function forecastOptions({ svg, ...options }: GivenOptions, results: string): Options {
  if (options.csv === undefined && options.column !== undefined) {
    throw new InputError("--column names a column of --csv's file: give both, or neither");
  }
  const picture = svg ?? join(results, pictureName(options.csv, options.column));
  const files = [options.csv, picture, options.json].filter((file) => file !== undefined);
  if (new Set(files).size < files.length) throw new InputError('--csv, --svg and --json must name different files');
  return { ...options, svg: picture };
}
