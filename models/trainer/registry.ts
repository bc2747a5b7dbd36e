/** The models that `npm run train` knows: a line each, loaded only when it is asked for. */
import type { Experiment } from './experiment.js';
import type { Options } from './options.js';

export const MODELS: Readonly<Record<string, (options?: Pick<Options, 'text'>) => Promise<Experiment>>> = {
  test_time_regression: async () => (await import('../test_time_regression/train.js')).experiment,
  in_context_regression: async () => (await import('../in_context_regression/train.js')).experiment,
  waves: async () => (await import('../waves/train.js')).experiment,
  associative_recall: async () => (await import('../associative_recall/train.js')).experiment,
  state_tracking: async () => (await import('../state_tracking/train.js')).experiment,
  language_model: async ({ text } = {}) => (await import('../language_model/train.js')).experimentOn(text),
};
