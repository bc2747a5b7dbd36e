/** The models that `npm run train` knows: a line each, loaded only when it is asked for. */
import type { Experiment } from './experiment.js';

export const MODELS: Readonly<Record<string, () => Promise<Experiment>>> = {
  in_context_regression: async () => (await import('../in_context_regression/train.js')).experiment,
};
