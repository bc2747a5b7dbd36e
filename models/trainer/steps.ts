/** The steps of a run, without files and without a terminal: a page takes them, too. */
import * as tf from '@tensorflow/tfjs-core';
import { Adam, rateAt } from './adam.js';
import type { Attention, Settings, Task, TrainedExperiment } from './experiment.js';
import { Random } from './random.js';
import { setFirstValues, trainedVariables } from './weights.js';

/** What a run's numbers follow from, besides the backend. */
export interface Start {
  readonly attention: Attention;
  readonly seed: number;
  /** Those of the experiment, complete. */
  readonly settings: Settings;
}

/** A task with its weights and the optimizer's state. */
export class Steps {
  readonly variables: tf.Variable[];
  readonly adam: Adam;

  private constructor(
    readonly task: Task,
    private readonly start: Start,
  ) {
    const { decay, clip } = start.settings;
    this.variables = trainedVariables(task.model);
    this.adam = new Adam(this.variables, { decay, clip });
  }

  /** Builds the task on the current backend and gives it its first weights. */
  static async begin(experiment: TrainedExperiment, start: Start): Promise<Steps> {
    const { attention, seed, settings } = start;
    const task = await experiment.start(attention, settings, seed);
    setFirstValues(task.model, new Random('weights', seed), settings.scale);
    task.prepare?.();
    return new Steps(task, start);
  }

  /** Takes step number `step`, counted from 1; gives the loss before it. */
  private take(step: number): tf.Scalar {
    const { task, adam, variables } = this;
    const { seed, settings } = this.start;
    const batch = task.batch(new Random('batch', seed, step));
    const { value, grads } = tf.variableGrads(() => task.loss(batch), variables);
    adam.apply(grads, step, rateAt(step, settings));
    tf.dispose([batch, grads]);
    return value;
  }

  /** Takes the steps after `from` up to `to`; their mean loss, for which it waits. */
  async advance(from: number, to: number): Promise<number> {
    const losses: tf.Scalar[] = [];
    for (let step = from + 1; step <= to; step++) losses.push(this.take(step));
    const stacked = tf.tidy(() => tf.stack(losses));
    try {
      const values = await stacked.data<'float32'>();
      return values.reduce((sum, value) => sum + value, 0) / values.length;
    } finally {
      tf.dispose([stacked, losses]);
    }
  }

  dispose(): void {
    this.adam.dispose();
    this.task.dispose();
  }
}
