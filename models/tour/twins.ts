/** The tour's two models: the same task, sizes, steps, batches and first values; only the operator differs. */
import * as tf from '@tensorflow/tfjs-core';
import { type LayersModel, loadLayersModel } from '@tensorflow/tfjs-layers';
import { directory } from '../../src/node.js';
import { type Host, runOnce } from '../trainer/compare.js';
import type { Attention, Json, Settings, Task, TrainedExperiment } from '../trainer/experiment.js';
import type { RunRecord } from '../trainer/record.js';

/** What came of saving a model and loading it. */
export interface Reloaded {
  readonly folder: string;
  /** Trained numbers of the model. */
  readonly weights: number;
  /** Forecasts that both models were asked for. */
  readonly values: number;
  /** Largest difference between the two. */
  readonly difference: number;
}

export interface Trained {
  readonly record: RunRecord;
  /** Of a twin that was saved. */
  readonly reloaded?: Reloaded;
}

/** Inputs `windows [batch, tokens, features]` that no run trains on, and whatever belongs to them. */
export type HeldOut = (settings: Settings) => Readonly<Record<string, tf.Tensor>> & { readonly windows: tf.Tensor };

/** Trains one twin once; resolves to nothing if it had to stop. `folder`: where the model is saved, if it is. */
export async function trainTwin(
  experiment: TrainedExperiment,
  heldOut: HeldOut,
  twin: { readonly attention: Attention; readonly seed: number; readonly set: Settings; readonly folder?: string },
  host: Host,
): Promise<Trained | undefined> {
  let reloaded: Reloaded | undefined;
  const saving: TrainedExperiment = {
    ...experiment,
    async start(attention, settings, seed) {
      const task = await experiment.start(attention, settings, seed);
      const { folder } = twin;
      if (folder === undefined) return task;
      const finish = async (): Promise<Json> => {
        reloaded = await saveAndLoad(task.model, folder, heldOut(settings));
        return (await task.finish?.()) ?? null;
      };
      return withFinish(task, finish);
    },
  };
  const once = { restart: true, checkpointSeconds: Infinity, keepCheckpoint: false };
  const record = await runOnce(saving, twin.attention, twin.seed, twin.set, once, host);
  return record && { record, reloaded };
}

function withFinish(task: Task, finish: () => Promise<Json>): Task {
  return {
    model: task.model,
    prepare: () => task.prepare?.(),
    batch: (random) => task.batch(random),
    loss: (batch) => task.loss(batch),
    evaluate: () => task.evaluate(),
    dispose: () => task.dispose(),
    finish,
  };
}

async function saveAndLoad(model: LayersModel, folder: string, held: ReturnType<HeldOut>): Promise<Reloaded> {
  await model.save(directory(folder));
  const loaded = await loadLayersModel(directory(folder));
  const differences = tf.tidy(() => {
    const [before, after] = [model, loaded].map((one) => one.predict(held.windows) as tf.Tensor);
    return tf.abs(tf.sub(before, after));
  });
  try {
    const values = await differences.data<'float32'>();
    // Not `Math.max(0, ...)`: a NaN has to show.
    const difference = values.reduce((largest, value) => (value <= largest ? largest : value), 0);
    return { folder, weights: model.countParams(), values: values.length, difference };
  } finally {
    differences.dispose();
    loaded.dispose();
    tf.dispose({ ...held });
  }
}
