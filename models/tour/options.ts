/** The command line of `npm start`: the tour, or the forecast alone. */
import { join } from 'node:path';
import { Command, Option } from 'commander';
import {
  addForecastOptions,
  BACKENDS,
  forecastOptions,
  type GivenOptions,
  integer,
  type Options as ForecastOptions,
  pathOf,
} from '../forecast/options.js';
import { modelFolder } from '../trainer/options.js';

export interface TourOptions {
  /** Steps of training; without it the model's own number. */
  readonly steps?: number;
  /** Runs of each twin, with seeds 1, 2, ... */
  readonly seeds: number;
  /** Folder of the saved models and the picture of their losses. */
  readonly out: string;
}

export interface Options {
  readonly forecast: ForecastOptions;
  /** Nothing where the forecast is all that is asked for. */
  readonly tour?: TourOptions;
}

const TOUR = ['steps', 'seeds', 'out'] as const;
const FORECAST = ['csv', 'column', 'lags', 'limit', 'json', 'svg'] as const;

/** Ends the process with code 1 and a message where the arguments make no sense. */
export function readOptions(argv: readonly string[], forecastResults: string): Options {
  const command = new Command('npm start --')
    .description(
      'A tour of two minutes: which backend computes here, six time series forecast without training, a small model ' +
        'with local linear attention trained beside its softmax twin, saved and loaded. With options of the forecast ' +
        'and none of the tour: the forecast alone.',
    )
    .optionsGroup('Tour:')
    .option('--steps <n>', 'steps of training (default: 500)', integer(1, 1_000_000))
    .option('--seeds <n>', 'how often each twin is trained, from first values of its own', integer(1, 100), 3)
    .option(
      '--out <folder>',
      'where models and the picture of their losses go (default: models/tour/results/runs)',
      pathOf,
    )
    .optionsGroup('Forecast:');
  addForecastOptions(command)
    .optionsGroup('Both:')
    .addOption(new Option('--backend <name>', 'the tfjs backend').choices(BACKENDS).default('auto'))
    .option('--debug', 'show where in the program an error arose', false)
    .helpOption('-h, --help', 'display help for command');
  const { steps, seeds, out, ...given } = command
    .parse(argv, { from: 'user' })
    .opts<GivenOptions & Pick<TourOptions, 'steps' | 'seeds'> & { readonly out?: string }>();
  const isGiven = (name: string): boolean => command.getOptionValueSource(name) === 'cli';
  const forecast = forecastOptions(given, forecastResults);
  const tour = { steps, seeds, out: out ?? join(modelFolder('tour'), 'results', 'runs') };
  const [ofTour, ofForecast] = [TOUR.find(isGiven), FORECAST.find(isGiven)];
  return ofForecast !== undefined && ofTour === undefined ? { forecast } : { forecast, tour };
}
