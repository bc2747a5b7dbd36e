/** The models that `npm run train` knows: a line each, loaded only when it is asked for. */
import type { Experiment } from './experiment.js';
import type { Options } from './options.js';

export const MODELS: Readonly<Record<string, (options: Pick<Options, 'text'>) => Promise<Experiment>>> = {
  in_context_regression: async () => (await import('../in_context_regression/train.js')).experiment,
  language_model: async ({ text }) => (await import('../language_model/train.js')).experimentOn(text),
};
