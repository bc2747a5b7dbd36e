/** What the page *Train it* asks its worker to do. */
import { type Attention, COMMON, type Metrics, type Settings } from '../../trainer/experiment.js';
import { Steps } from '../../trainer/steps.js';
import { experiment } from '../train.js';

/** Smaller than the experiment's own, so that it learns while somebody looks on. */
const SMALL: Settings = { batch: 16, pairs: 32, dim: 8, width: 32, evaluated: 64 };

export interface TrainRequest {
  readonly attentions: readonly Attention[];
  readonly steps: number;
  readonly seed: number;
}

/** Where all models are after the same number of steps. */
export interface Reached {
  readonly step: number;
  /** Mean loss of the steps since the one before. */
  readonly losses: Readonly<Partial<Record<Attention, number>>>;
  /** Milliseconds of a step, so far. */
  readonly pace: Readonly<Partial<Record<Attention, number>>>;
}

export type OnReached = (reached: Reached) => void | Promise<void>;

/** Steps between two points of a curve: losses of single batches jump, and reading one waits for the device. */
const INTERVAL = 5;

interface Runner {
  readonly attention: Attention;
  readonly steps: Steps;
  milliseconds: number;
}

/** Takes some steps and gives their mean loss. */
async function advance(runner: Runner, from: number, to: number): Promise<number> {
  const begun = performance.now();
  const loss = await runner.steps.advance(from, to);
  runner.milliseconds += performance.now() - begun;
  if (!Number.isFinite(loss)) throw new Error(`training with ${runner.attention} came to a loss that is no number`);
  return loss;
}

export const jobs = {
  /** Trains models that differ in their attention alone, in turn; gives what each reaches on data that none has seen. */
  async train(
    { attentions, steps, seed }: TrainRequest,
    onReached: OnReached,
  ): Promise<Partial<Record<Attention, Metrics>>> {
    const settings = { ...COMMON, ...experiment.settings, ...SMALL, steps };
    const runners: Runner[] = [];
    try {
      for (const attention of attentions) {
        runners.push({
          attention,
          steps: await Steps.begin(experiment, { attention, seed, settings }),
          milliseconds: 0,
        });
      }
      for (let from = 0; from < steps;) {
        const to = Math.min(steps, from + INTERVAL);
        const losses: Partial<Record<Attention, number>> = {};
        for (const runner of runners) losses[runner.attention] = await advance(runner, from, to);
        const pace = Object.fromEntries(runners.map(({ attention, milliseconds }) => [attention, milliseconds / to]));
        await onReached({ step: to, losses, pace });
        from = to;
      }
      const metrics: Partial<Record<Attention, Metrics>> = {};
      for (const { attention, steps: run } of runners) metrics[attention] = await run.task.evaluate();
      return metrics;
    } finally {
      for (const runner of runners) runner.steps.dispose();
    }
  },
};
