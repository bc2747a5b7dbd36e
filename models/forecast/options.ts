/** The command line of the job. */
import { basename, extname, join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { InputError } from '../common/input_error.js';
import { MOST_LAGS } from './data.js';

export const BACKENDS = ['auto', 'tensorflow', 'wasm', 'cpu'] as const;
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

function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      const range = Number.isFinite(most) ? `from ${least} to ${most}` : `of at least ${least}`;
      throw new InvalidArgumentError(`It must be a whole number ${range}.`);
    }
    return value;
  };
}

/**
 * `npm start` runs in the root of the project wherever it was called; a file that the user names is meant from where
 * they stood.
 */
function userPath(file: string): string {
  const { npm_lifecycle_event: script, INIT_CWD: called } = process.env;
  return resolve(script === 'start' && called !== undefined ? called : '.', file);
}

/** Letters and digits of any script stay, so that the picture's name shows what it is of. */
const slug = (text: string): string => text.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '');

function pictureName(csv: string | undefined, column: string | undefined): string {
  if (csv === undefined) return 'forecast.svg';
  const parts = [basename(csv, extname(csv)), column ?? ''].map(slug).filter((part) => part !== '');
  return `own-${parts.join('-')}.svg`;
}

/** Ends the process with code 1 and a message where the arguments make no sense. */
export function readOptions(argv: readonly string[], results: string): Options {
  const command = new Command('npm start --')
    .description(
      'Forecasts time series one step ahead by test-time regression, without training: persistence, linear ' +
        'attention, mesa, softmax attention and local linear attention on the same data.',
    )
    .option('--csv <file>', 'a CSV file of your own, instead of the series that come with the project', userPath)
    .option('--column <name>', 'the column of numbers in it')
    .option('--lags <n>', 'how many past values a forecast is made from', integer(1, MOST_LAGS), 8)
    .option('--limit <n>', 'take only the first n values of a series', integer(1, Infinity))
    .option('--json <file>', 'write settings, errors and forecasts to this file', userPath)
    .option('--svg <file>', 'write the picture to this file', userPath)
    .addOption(new Option('--backend <name>', 'the tfjs backend').choices(BACKENDS).default('auto'))
    .option('--debug', 'show where in the program an error arose', false);
  const { svg, ...options } = command.parse(argv, { from: 'user' }).opts<Omit<Options, 'svg'> & { svg?: string }>();
  if (options.csv === undefined && options.column !== undefined) {
    throw new InputError("--column names a column of --csv's file: give both, or neither");
  }
  const picture = svg ?? join(results, pictureName(options.csv, options.column));
  const files = [options.csv, picture, options.json].filter((file) => file !== undefined);
  if (new Set(files).size < files.length) throw new InputError('--csv, --svg and --json must name different files');
  return { ...options, svg: picture };
}
