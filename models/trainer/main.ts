/** `npm run train -- MODEL`: trains a model, or compares attentions on it. models/README.md explains the options. */
import { join } from 'node:path';
import { startBackend } from '../common/backend.js';
import { InputError } from '../common/input_error.js';
import { Interruption } from '../common/interruption.js';
import { compare } from './compare.js';
import { modelFolder, type Options, readOptions } from './options.js';
import { MODELS } from './registry.js';
import { render } from './render.js';
import { sweep } from './sweep.js';

/** Of a call that stopped at `--max-minutes` or at a signal, and goes on when it is repeated. */
const UNFINISHED = 2;

/** What gives the same result elsewhere: without folders and time limits. */
function commandOf({ model, job, attentions, seed, seeds, backend, set, text }: Options): string {
  const settings = Object.entries(set).map(([name, value]) => `--set ${name}=${value}`);
  return [
    `npm run train -- ${model}`,
    ...(job === 'train' ? [] : [`--${job}`]),
    ...(attentions === undefined ? [] : [`--attention ${attentions.join(',')}`]),
    ...(seed === 1 ? [] : [`--seed ${seed}`]),
    ...(seeds === undefined ? [] : [`--seeds ${seeds}`]),
    `--backend ${backend}`,
    ...settings,
    ...(text === undefined ? [] : [`--text ${text}`]),
  ].join(' ');
}

async function work(options: Options): Promise<boolean> {
  const experiment = await MODELS[options.model](options);
  const out = options.out ?? join(modelFolder(options.model), 'results', 'runs');
  if (options.job === 'render') {
    await render(experiment, out, options.publish);
    return true;
  }
  const device = await startBackend(options.backend);
  console.log(`${experiment.title}; backend ${device.backend} (${device.adapter}); runs in ${out}`);
  const deadline = Date.now() + 60_000 * (options.maxMinutes ?? Infinity);
  const interruption = new Interruption(() => console.error('stopping at the next checkpoint'));
  const host = {
    ...device,
    out,
    command: commandOf(options),
    mustPause: () => interruption.mustStop() || Date.now() >= deadline,
  };
  if (options.job === 'sweep') return sweep(experiment, options, host);
  const isComplete = await compare(experiment, options, host);
  if (isComplete && options.job === 'compare') await render(experiment, out, options.publish);
  return isComplete;
}

async function main(argv: readonly string[]): Promise<number> {
  let debug = argv.includes('--debug');
  try {
    const options = readOptions(argv, Object.keys(MODELS));
    debug = options.debug;
    if (await work(options)) return 0;
    console.error('stopped before the end; the same command goes on from here');
    return UNFINISHED;
  } catch (error) {
    // A user's mistake needs no stack; a mistake of ours shows it on request.
    if (debug || !(error instanceof Error)) console.error(error);
    else console.error(`error: ${error.message}${error instanceof InputError ? '' : ' (--debug shows where)'}`);
    return 1;
  }
}

// A GPU device keeps the process alive.
void main(process.argv.slice(2)).then((code) => process.exit(code));
