/** The command line of the trainer. */
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { InputError } from '../common/input_error.js';
import { userPath } from '../common/user_path.js';
import { type Attention, ATTENTIONS, COMMON, type Experiment, isTrained, type Settings } from './experiment.js';

const BACKENDS = ['auto', 'cpu', 'wasm', 'webgpu', 'tensorflow'] as const;

/** What one call of the program is to do. */
export type Job = 'train' | 'compare' | 'sweep' | 'render';

export interface Options {
  readonly model: string;
  readonly job: Job;
  readonly attentions?: readonly Attention[];
  readonly seed: number;
  readonly seeds?: number;
  readonly backend: (typeof BACKENDS)[number];
  /** What the user has set, by name. */
  readonly set: Settings;
  /** A file of `--sweep`. */
  readonly chosen?: string;
  readonly out?: string;
  /** File that language_model learns, in the place of Moby-Dick. */
  readonly text?: string;
  readonly restart: boolean;
  readonly maxMinutes?: number;
  readonly checkpointSeconds: number;
  readonly publish: boolean;
  readonly debug: boolean;
}

/** Where the files of a model lie, seen from the root of the project. */
export const modelFolder = (model: string): string => join('models', model);

const number = (text: string): number => {
  const value = text.trim() === '' ? NaN : Number(text);
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('It must be a number of at least 0.');
  return value;
};

const positive = (text: string): number => {
  const value = number(text);
  if (value === 0) throw new InvalidArgumentError('It must be greater than 0.');
  return value;
};

const integer = (text: string): number => {
  const value = number(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('It must be a whole number.');
  return value;
};

/** A whole number of at least 1, of an option. */
export const count = (text: string): number => {
  const value = integer(text);
  if (value < 1) throw new InvalidArgumentError('It must be a whole number of at least 1.');
  return value;
};

const isAttention = (name: string): name is Attention => (ATTENTIONS as readonly string[]).includes(name);

function attentions(text: string): Attention[] {
  if (text === 'all') return [...ATTENTIONS];
  return text.split(',').map((name) => {
    if (!isAttention(name)) {
      throw new InvalidArgumentError(`'${name}' is no attention: choose from ${ATTENTIONS.join(', ')}, or all.`);
    }
    return name;
  });
}

function assignment(text: string, before: Settings = {}): Settings {
  const [name, value = '', ...rest] = text.split('=');
  if (name === '' || value === '' || rest.length > 0) throw new InvalidArgumentError('It must be NAME=NUMBER.');
  return { ...before, [name]: number(value) };
}

const pathOf = userPath('train');

/** Settings with an option of their own; the others go by `--set`. */
const NAMED: Readonly<Record<string, readonly [parse: (text: string) => number, text: string]>> = {
  steps: [count, 'steps of training'],
  batch: [count, 'examples of a step'],
  rate: [positive, 'learning rate'],
  ridge: [positive, 'ridge at the start; each head trains its own'],
  scale: [positive, "factor on the query kernels' first values"],
  patience: [integer, 'evaluations without a better metric after which a run ends; 0: never'],
  target: [number, 'value of the first metric at which a run ends; 0: none'],
};

/** Ends the process with code 1 and a message where the arguments make no sense. */
export function readOptions(argv: readonly string[], models: readonly string[]): Options {
  const command = new Command('npm run train --')
    .description('Trains a model of this repository with an attention, or compares attentions; models/README.md.')
    .argument('<model>', `one of ${models.join(', ')}`)
    .option('--attention <names>', `one or more of ${ATTENTIONS.join(', ')} (with commas), or all`, attentions)
    .option('--seed <n>', 'seed of the first run', integer, 1)
    .option('--seeds <n>', 'number of seeds, each the one before plus 1 (default: 1; --compare: 3)', count)
    .addOption(new Option('--backend <name>', 'tfjs backend').choices(BACKENDS).default('auto'))
    .option('--set <name=number>', "one of the model's settings; may be repeated", assignment)
    .option('--out <folder>', 'where runs are kept (default: models/MODEL/results/runs)', pathOf)
    .option('--text <file>', 'the text that language_model learns (default: Moby-Dick)', pathOf)
    .option(
      '--max-minutes <n>',
      'stop after this time, with a checkpoint from which the same command goes on',
      positive,
    )
    .option('--checkpoint-seconds <n>', 'time between two checkpoints', number, 30)
    .option('--restart', 'begin anew instead of going on', false)
    .option('--compare', "train every attention with several seeds; the table goes into the model's README.md")
    .option('--sweep', 'try values of settings, for every attention alike')
    .option(
      '--chosen <file>',
      "take what a sweep chose for each attention (its sweep.json) for the model's own values",
      pathOf,
    )
    .option('--render', 'table and plot of the runs that are there, without training')
    .option('--no-publish', 'with --compare and --render: leave models/MODEL as it is; table and plot go to --out')
    .option('--debug', 'show where in the program an error arose', false);
  for (const [name, [parse, text]] of Object.entries(NAMED)) command.option(`--${name} <n>`, text, parse);
  command.parse(argv, { from: 'user' });
  const [model] = command.args;
  if (!models.includes(model)) throw new InputError(`there is no model '${model}'; there are ${models.join(', ')}`);
  type Flags = Partial<Record<'compare' | 'sweep' | 'render', true>>;
  const { set, attention, ...given } = command.opts<
    Omit<Options, 'model' | 'job' | 'set' | 'attentions'> & Flags & { set?: Settings; attention?: Attention[] }
  >();
  const jobs = (['compare', 'sweep', 'render'] as const).filter((name) => given[name]);
  if (jobs.length > 1) throw new InputError(`--${jobs.join(' and --')} exclude each other`);
  if (given.text !== undefined && model !== 'language_model') throw new InputError('--text is for language_model only');
  const named = Object.keys(NAMED).map((name): [string, unknown] => [name, command.getOptionValue(name)]);
  const set_ = Object.fromEntries(named.filter((entry): entry is [string, number] => typeof entry[1] === 'number'));
  return { ...given, model, job: jobs.at(0) ?? 'train', attentions: attention, set: { ...set, ...set_ } };
}

/** The settings of a run: common ones, the model's, those chosen for the attention, the user's. */
export function settingsOf(experiment: Experiment, attention: Attention, set: Settings): Settings {
  const own = isTrained(experiment) ? { ...COMMON, ...experiment.settings } : experiment.settings;
  for (const name of Object.keys(set)) {
    if (!Object.hasOwn(own, name)) {
      throw new InputError(`${experiment.name} has no setting '${name}'; it has ${Object.keys(own).join(', ')}`);
    }
  }
  const settings = { ...own, ...(isTrained(experiment) ? experiment.chosen?.[attention] : {}), ...set };
  if (isTrained(experiment)) {
    for (const name of ['steps', 'batch', 'logEvery', 'evaluateEvery'] as const) {
      if (!Number.isSafeInteger(settings[name]) || settings[name] < 1) {
        throw new InputError(`setting ${name} must be a whole number of at least 1, got ${settings[name]}`);
      }
    }
    for (const name of ['rate', 'ridge', 'scale', 'clip'] as const) {
      if (settings[name] <= 0) throw new InputError(`setting ${name} must be greater than 0, got ${settings[name]}`);
    }
    if (settings.warmup > 1)
      throw new InputError(`setting warmup must be a share of the steps, got ${settings.warmup}`);
  }
  return settings;
}
