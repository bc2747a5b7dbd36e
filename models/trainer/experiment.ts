/**
 * What a model implements so that `npm run train -- NAME` trains it.
 *
 * A model is a folder of `models/` and one line in `registry.ts`. Its `data.ts` makes batches, `model.ts` makes layers,
 * and `train.ts` exports one `Experiment` that joins them. The trainer owns everything else: weights at the start,
 * optimizer, rate, checkpoints, metrics, tables and plots. In the order in which it calls:
 *
 * 1. `experiment.start(attention, settings, seed)` builds a `Task` on the current tfjs backend.
 * 2. Weights of two and more dimensions get values from the seed (`weights.ts`); the others stay as the layers made them.
 *    `task.prepare()`, if there is one, changes what is to begin otherwise.
 * 3. Per step: `task.batch(random)`, then `task.loss(batch)` and its gradients. `random` depends on seed and step alone,
 *    and must be the only source of chance in `batch` and `loss` (so no dropout), as a resumed run repeats the
 *    uninterrupted one to the bit.
 *    For the same reason tokens go through `TokenEmbedding` (models/common), not through tfjs' embedding layer.
 * 4. Every `evaluateEvery` steps and at the end: `task.evaluate()`, on data that are the same for every attention.
 * 5. After the last step `task.finish()`, if there is one: what it returns is kept in the record of the run.
 *
 * A model that is not trained has `measure` in place of `start`.
 *
 * `train.ts` must load on a machine without packages, in one bundled file: no path from `import.meta.url`, and data of a
 * package by an import that esbuild packs (a JSON file, for instance).
 */
import type * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { Random } from './random.js';

export const ATTENTIONS = ['localLinear', 'softmax', 'linear', 'mesa', 'parallax'] as const;
export type Attention = (typeof ATTENTIONS)[number];

/** Numbers by name; each can be set on the command line (`--set name=value`). */
export type Settings = Readonly<Record<string, number>>;

/** What every trained model has, with the values that hold where it names none. */
export const COMMON = {
  /** Steps of training. */
  steps: 1000,
  /** Examples of a step. */
  batch: 32,
  /** Learning rate at its highest. */
  rate: 1e-3,
  /** Share of the steps in which the rate rises from 0; after them it falls to `finalRate` along a cosine. */
  warmup: 0.1,
  /** Rate at the end, as a share of `rate`. */
  finalRate: 0.1,
  /** Decoupled weight decay of weights of two and more dimensions. */
  decay: 0,
  /** Largest norm of the gradient of all weights together; a longer one is shortened. */
  clip: 1,
  /** Ridge at the start, of attentions that have one; each head trains its own. */
  ridge: 1,
  /** Factor on the query kernels' first values, and by that on the first scores. */
  scale: 1,
  /** Steps from one entry of the loss curve to the next; checkpoints lie between two entries. */
  logEvery: 20,
  /** Steps from one evaluation to the next. */
  evaluateEvery: 200,
  /** Evaluations without a better first metric after which a run ends; 0: never. */
  patience: 0,
  /** Value of the first metric at which a run ends; 0: none. */
  target: 0,
} as const satisfies Settings;

export interface Metric {
  /** The key in what `evaluate` or `measure` returns. */
  readonly name: string;
  /** What tables and plots call it. */
  readonly label: string;
  readonly better: 'higher' | 'lower';
}

/** Values by the name of their metric. */
export type Metrics = Readonly<Partial<Record<string, number>>>;

/** A batch: tensors by name. The trainer disposes of them. */
export type Batch = Readonly<Record<string, tf.Tensor>>;

/** Anything that JSON can hold. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** A model with its data, ready to be trained. */
export interface Task {
  readonly model: LayersModel;
  /** Sets weights that begin in another way than all models' do; called once, before the first step. */
  prepare?(): void;
  batch(random: Random): Batch;
  /** Mean loss of a batch, differentiable; called inside `tf.tidy`. */
  loss(batch: Batch): tf.Scalar;
  evaluate(): Promise<Metrics>;
  finish?(): Promise<Json>;
  /** Frees the model and whatever the task keeps. */
  dispose(): void;
}

interface Described {
  /** Its folder's name. */
  readonly name: string;
  /** For headings. */
  readonly title: string;
  /** The attentions that it compares. Default: all. */
  readonly attentions?: readonly Attention[];
  /** What is measured; the first one decides. */
  readonly metrics: readonly Metric[];
  /** Its own settings, and its own values of the common ones. */
  readonly settings: Settings;
}

export interface TrainedExperiment extends Described {
  /** What differs from `settings` for one attention; README.md of the model says how it was chosen. */
  readonly chosen?: Readonly<Partial<Record<Attention, Settings>>>;
  /** Values that `--sweep` tries, for every attention alike, one setting after the other. */
  readonly sweep: Readonly<Record<string, readonly number[]>>;
  start(attention: Attention, settings: Settings, seed: number): Task | Promise<Task>;
}

/** A line of a plot: `values[i]` at `at[i]`. */
export interface Curve {
  readonly label: string;
  readonly at: readonly number[];
  readonly values: readonly number[];
}

/** What an experiment without training found. */
export interface Measured {
  readonly metrics: Metrics;
  /** By the panel of the plot that they belong to. */
  readonly curves: Readonly<Record<string, Curve>>;
  readonly notes: Json;
}

export interface UntrainedExperiment extends Described {
  /** Panels of its plot: titles of the axes by the panel's name. */
  readonly panels: Readonly<Record<string, { readonly title: string; readonly x: string; readonly y: string }>>;
  measure(attention: Attention, settings: Settings, seed: number): Promise<Measured>;
}

export type Experiment = TrainedExperiment | UntrainedExperiment;

export const isTrained = (experiment: Experiment): experiment is TrainedExperiment => 'start' in experiment;
