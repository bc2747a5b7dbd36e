/** `npm start`: the tour, or with options of the forecast the forecast alone. README.md says what it shows. */
import { InputError } from '../common/input_error.js';
import { INTERRUPTED, Interrupted } from '../common/interruption.js';
import { RESULTS } from '../forecast/files.js';
import { forecastSeries, readSeries } from '../forecast/program.js';
import { assertOutputs } from './files.js';
import { type Options, readOptions } from './options.js';

async function run({ forecast, tour }: Options): Promise<void> {
  const series = await readSeries(forecast);
  if (tour !== undefined) await assertOutputs(tour.out);
  // Loaded here and not above: tfjs takes longer to load than a wrong argument takes to be found.
  if (tour === undefined) {
    const { startBackend } = await import('../common/backend.js');
    await forecastSeries(series, forecast, await startBackend(forecast.backend));
  } else {
    const { runTour } = await import('./tour.js');
    await runTour(series, forecast, tour);
  }
}

async function main(argv: readonly string[]): Promise<number> {
  let debug = argv.includes('--debug');
  try {
    const options = readOptions(argv, RESULTS);
    debug = options.forecast.debug;
    await run(options);
    return 0;
  } catch (error) {
    if (error instanceof Interrupted) {
      console.error(error.message);
      return INTERRUPTED;
    }
    // A user's mistake needs no stack; a mistake of ours shows it on request.
    if (debug || !(error instanceof Error)) console.error(error);
    else console.error(`error: ${error.message}${error instanceof InputError ? '' : ' (--debug shows where)'}`);
    return 1;
  }
}

// A GPU device keeps the process alive.
void main(process.argv.slice(2)).then((code) => process.exit(code));
