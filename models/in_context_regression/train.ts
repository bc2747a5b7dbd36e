import * as tf from '@tensorflow/tfjs-core';
import { meanSquaredError } from '../common/losses.js';
import type { Attention, Batch, Settings, Task, TrainedExperiment } from '../trainer/experiment.js';
import { Random } from '../trainer/random.js';
import { segmentedStreams, type StreamSizes } from './data.js';
import { regressionModel } from './model.js';

/**
 * Two tokens a pair: `(input, 0, 0)`, at which the output is asked for, then `(input, output, 1)`, from which it can be
 * seen. Without the mark at the end a query could not tell a question from an output of zero.
 */
function tokensOf(inputs: tf.Tensor3D, outputs: tf.Tensor3D): tf.Tensor3D {
  return tf.tidy(() => {
    const [batch, pairs, dim] = inputs.shape;
    const mark = (value: number) => tf.fill<tf.Rank.R3>([batch, pairs, 1], value);
    const asked = tf.concat([inputs, tf.zerosLike(outputs), mark(0)], 2);
    const shown = tf.concat([inputs, outputs, mark(1)], 2);
    return tf.reshape(tf.stack([asked, shown], 2), [batch, 2 * pairs, 2 * dim + 1]);
  });
}

class Regression implements Task {
  readonly model;
  private readonly sizes: StreamSizes;
  private readonly held: Batch;

  constructor(
    attention: Attention,
    private readonly settings: Settings,
  ) {
    const { batch, pairs, dim, segments, evaluated } = settings;
    this.sizes = { batch, count: pairs, dim, segment: pairs / segments };
    this.model = regressionModel(attention, settings, 2 * dim + 1, dim);
    this.held = this.make(new Random('in_context_regression', 'held out'), { ...this.sizes, batch: evaluated });
  }

  private make(random: Random, sizes: StreamSizes): Batch {
    const { inputs, outputs } = segmentedStreams(random, sizes, { spread: this.settings.spread, isShared: false });
    const shape: [number, number, number] = [sizes.batch, sizes.count, sizes.dim];
    const x = tf.tensor3d(inputs, shape);
    const y = tf.tensor3d(outputs, shape);
    const tokens = tokensOf(x, y);
    x.dispose();
    return { tokens, y };
  }

  batch(random: Random): Batch {
    return this.make(random, this.sizes);
  }

  /** What the model says at each question: `[batch, pairs, dim]`. */
  private answers({ tokens, y }: Batch): tf.Tensor {
    const out = this.model.apply(tokens, { training: true }) as tf.Tensor3D;
    const [batch, pairs, dim] = y.shape;
    const asked = tf.slice(tf.reshape<tf.Rank.R4>(out, [batch, pairs, 2, dim]), [0, 0, 0, 0], [batch, pairs, 1, dim]);
    return tf.reshape(asked, y.shape);
  }

  loss(batch: Batch): tf.Scalar {
    return meanSquaredError(this.answers(batch), batch.y);
  }

  async evaluate() {
    const errors = tf.tidy(() => tf.mean(tf.squaredDifference(this.answers(this.held), this.held.y), [0, 2]));
    const values = await errors.data<'float32'>();
    errors.dispose();
    const { pairs, segments } = this.settings;
    const length = pairs / segments;
    const mean = (some: Float32Array) => some.reduce((sum, value) => sum + value, 0) / some.length;
    // Of later segments: the first has no old map to be misled by.
    const ends = values.filter((_, i) => i >= length && i % length >= (3 * length) / 4);
    return { error: mean(values), late: mean(ends) };
  }

  dispose(): void {
    this.model.dispose();
    tf.dispose({ ...this.held });
  }
}

export const experiment: TrainedExperiment = {
  name: 'in_context_regression',
  title: 'In-context regression',
  metrics: [
    { name: 'error', label: 'error', better: 'lower' },
    { name: 'late', label: 'error in the last quarter of later segments', better: 'lower' },
  ],
  settings: {
    steps: 1000,
    batch: 32,
    rate: 2e-3,
    /** Pairs in a context, and the number of maps that follow each other in it. */
    pairs: 64,
    segments: 2,
    /** Numbers of an input and of an output. */
    dim: 32,
    /** Deviation of a segment's inputs around its direction. */
    spread: 1,
    width: 64,
    heads: 1,
    layers: 2,
    /** Contexts of an evaluation. */
    evaluated: 128,
  },
  /** By results/sweep.json. */
  chosen: {
    localLinear: { rate: 0.008, scale: 0.5 },
    softmax: { rate: 0.008, scale: 2 },
    linear: { rate: 0.008, scale: 0.5 },
    mesa: { rate: 0.004, ridge: 10, scale: 0.5 },
    parallax: { rate: 0.008 },
  },
  sweep: { rate: [1e-3, 2e-3, 4e-3, 8e-3], ridge: [0.1, 1, 10], scale: [0.5, 1, 2] },
  start: (attention, settings) => new Regression(attention, settings),
};
