/** One run: an experiment with one attention and one seed, from its checkpoint if there is one, to its record. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { rateAt } from './adam.js';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import type { TrainedExperiment } from './experiment.js';
import { showProgress } from './progress.js';
import type { Ending, Evaluation, Progress, RunKey, RunRecord } from './record.js';
import { Steps } from './steps.js';

export interface RunOptions {
  /** Where the run's files lie. */
  readonly folder: string;
  /** Whether the last checkpoint stays when the run has ended. */
  readonly keepCheckpoint: boolean;
  /** Seconds between two checkpoints. */
  readonly checkpointEvery: number;
  /** Whether the run has to pause at its next checkpoint: time is over, or a signal came. */
  readonly mustPause: () => boolean;
}

export const checkpointFile = (folder: string): string => join(folder, 'checkpoint.safetensors');

/** Trains; resolves to the run's result, or to nothing if it had to pause. */
export async function run(
  experiment: TrainedExperiment,
  key: RunKey,
  options: RunOptions,
): Promise<(Omit<RunRecord, 'made'> & { readonly seconds: number }) | undefined> {
  const steps = await Steps.begin(experiment, key);
  const { task, adam, variables } = steps;
  try {
    const trainer = new Trainer(experiment, key, steps);
    const file = checkpointFile(options.folder);
    const found = await loadCheckpoint(file, task.model, adam, key);
    const ending = await trainer.train(found, file, options);
    if (ending === undefined) return undefined;
    const notes = ending === 'diverged' ? undefined : await task.finish?.();
    if (!options.keepCheckpoint) await rm(file, { force: true });
    const weights = variables.reduce((sum, { size }) => sum + size, 0);
    return { key, ending, ...trainer.progress, metrics: trainer.metrics, weights, notes, seconds: trainer.seconds };
  } finally {
    steps.dispose();
  }
}

class Trainer {
  private step = 0;
  private losses: Progress['losses'][number][] = [];
  private evaluations: Evaluation[] = [];
  private spent = 0;
  private begun = performance.now();

  constructor(
    private readonly experiment: TrainedExperiment,
    private readonly key: RunKey,
    private readonly steps: Steps,
  ) {}

  get progress(): Progress {
    const { step, losses, evaluations } = this;
    return { step, losses, evaluations };
  }

  get metrics(): Evaluation['metrics'] {
    return this.evaluations.at(-1)?.metrics ?? {};
  }

  get seconds(): number {
    return this.spent + (performance.now() - this.begun) / 1000;
  }

  async train(
    found: (Progress & { readonly seconds: number }) | undefined,
    file: string,
    { checkpointEvery, mustPause }: RunOptions,
  ): Promise<Ending | undefined> {
    if (found) {
      this.step = found.step;
      this.losses = [...found.losses];
      this.evaluations = [...found.evaluations];
      this.spent = found.seconds;
    }
    const { steps } = this.key.settings;
    const title = `${this.key.model}, ${this.key.attention}, seed ${this.key.seed}`;
    const display = showProgress(title, this.step, steps);
    const first = this.step;
    const start = performance.now();
    let saved = { at: start, step: first };
    const save = async () => {
      await saveCheckpoint(file, this.steps.task.model, this.steps.adam, {
        ...this.progress,
        key: this.key,
        seconds: this.seconds,
      });
      saved = { at: performance.now(), step: this.step };
    };
    try {
      for (;;) {
        // Lets signals arrive: on `cpu` nothing else in this loop waits for more than a promise.
        await setImmediate();
        const ending = this.ending();
        if (ending !== undefined || mustPause()) {
          await save();
          return ending;
        }
        const isDue = this.step > saved.step && performance.now() - saved.at >= 1000 * checkpointEvery;
        if (isDue) await save();
        const loss = await this.interval();
        const pace = (performance.now() - start) / 1000 / (this.step - first);
        const rate = rateAt(this.step, this.key.settings);
        display.update({ step: this.step, loss, rate, left: pace * (steps - this.step) });
      }
    } finally {
      display.stop();
    }
  }

  /** Steps up to the next entry of the loss curve, and an evaluation where one is due. */
  private async interval(): Promise<number> {
    const { steps, logEvery, evaluateEvery } = this.key.settings;
    const end = Math.min(steps, (Math.floor(this.step / logEvery) + 1) * logEvery);
    const begun = this.step;
    const loss = await this.steps.advance(begun, end);
    this.step = end;
    this.losses.push([end, loss]);
    const isDue = Math.floor(end / evaluateEvery) > Math.floor(begun / evaluateEvery);
    if (Number.isFinite(loss) && (isDue || end === steps)) {
      this.evaluations.push({ step: end, metrics: await this.steps.task.evaluate() });
    }
    return loss;
  }

  /** Whether the run has come to its end, and by what. */
  private ending(): Ending | undefined {
    const { steps, patience, target } = this.key.settings;
    const [metric] = this.experiment.metrics;
    const last = this.losses.at(-1);
    if (last !== undefined && !Number.isFinite(last[1])) return 'diverged';
    const sign = metric.better === 'higher' ? 1 : -1;
    const values = this.evaluations.map(({ metrics }) => sign * (metrics[metric.name] ?? NaN));
    if (values.some((value) => !Number.isFinite(value))) return 'diverged';
    if (target !== 0 && values.length > 0 && values[values.length - 1] >= sign * target) return 'target';
    const best = values.indexOf(Math.max(...values));
    if (patience > 0 && values.length - 1 - best >= patience) return 'patience';
    return this.step >= steps ? 'steps' : undefined;
  }
}
