/** Small runs of every model, and how a test makes them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { compare } from '../../models/trainer/compare.js';
import { readOptions } from '../../models/trainer/options.js';
import type { RunRecord } from '../../models/trainer/record.js';
import { MODELS } from '../../models/trainer/registry.js';

const EVALUATION = ['--set', 'logEvery=5', '--set', 'evaluateEvery=20', '--set', 'evaluated=8'];

/** Arguments with which a model's run takes a second or two and its loss still falls. */
export const SMALL: Readonly<Record<string, readonly string[]>> = {
  in_context_regression: [
    ...['--steps', '40', '--batch', '4', '--set', 'pairs=16', '--set', 'dim=4', '--set', 'width=16'],
    ...EVALUATION,
  ],
  waves: ['--steps', '40', '--batch', '48', ...EVALUATION],
  associative_recall: [
    ...['--steps', '40', '--batch', '4', '--set', 'pairs=4', '--set', 'vocabulary=8', '--set', 'width=16'],
    ...['--rate', '0.01'],
    ...EVALUATION,
  ],
  language_model: [
    ...[
      '--text',
      'LICENSE',
      '--steps',
      '40',
      '--batch',
      '4',
      '--set',
      'dim=16',
      '--set',
      'heads=2',
      '--set',
      'layers=1',
    ],
    ...[
      '--set',
      'context=16',
      '--set',
      'sampled=16',
      '--rate',
      '0.01',
      '--set',
      'logEvery=5',
      '--set',
      'evaluateEvery=20',
    ],
  ],
  state_tracking: [
    ...['--steps', '40', '--batch', '16', '--set', 'length=4', '--set', 'width=16', '--set', 'mlp=1', '--rate', '0.01'],
    ...EVALUATION,
  ],
};

/** The arguments of a run whose files go to `out`. */
export const argumentsOf = (model: string, out: string, ...more: readonly string[]): string[] => [
  model,
  ...SMALL[model],
  ...['--backend', 'cpu', '--out', out],
  ...more,
];

/** Runs in this process; whether it came to its end. */
export async function runHere(args: readonly string[], mustPause: () => boolean = () => false): Promise<boolean> {
  const options = readOptions(args, Object.keys(MODELS));
  const experiment = await MODELS[options.model](options);
  const { out = '' } = options;
  return compare(experiment, options, { backend: 'cpu', adapter: 'a processor', out, command: 'test', mustPause });
}

export const recordOf = (out: string, name = 'localLinear_seed1'): RunRecord =>
  JSON.parse(readFileSync(join(out, name, 'record.json'), 'utf8')) as RunRecord;

/** What two runs of the same must agree in, to the bit. */
export const resultOf = ({ key, ending, step, losses, evaluations, metrics, weights, notes }: RunRecord) => ({
  ...{ key, ending, step, losses, evaluations, metrics, weights, notes },
});
