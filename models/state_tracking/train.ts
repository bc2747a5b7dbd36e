import * as tf from '@tensorflow/tfjs-core';
import { InputError } from '../common/input_error.js';
import { crossEntropy } from '../common/losses.js';
import { accuracy, type TokenModel } from '../common/token_model.js';
import type { Attention, Batch, Settings, Task, TrainedExperiment } from '../trainer/experiment.js';
import { Random } from '../trainer/random.js';
import { composition, trackingBatch } from './data.js';
import { tokenModel } from './model.js';

/** Beyond it the table of compositions grows to half a million entries and more. */
const MOST_ELEMENTS = 6;

class Tracking implements Task {
  private readonly tokens: TokenModel;
  private readonly table: Int32Array;
  private readonly held: Batch;

  constructor(
    attention: Attention,
    private readonly settings: Settings,
  ) {
    const { elements, width, heads, layers, ridge, mlp } = settings;
    this.table = composition(elements);
    const vocabulary = Math.sqrt(this.table.length);
    this.tokens = tokenModel(attention, { vocabulary, width, heads, layers, ridge, mlp });
    this.held = this.make(new Random('state_tracking', 'held out'), settings.evaluated);
  }

  get model() {
    return this.tokens.model;
  }

  private make(random: Random, batch: number): Batch {
    const { length, elements } = this.settings;
    const { letters, states } = trackingBatch(random, { batch, length, elements }, this.table);
    return { letters: tf.tensor2d(letters, [batch, length], 'int32'), states: tf.tensor1d(states, 'int32') };
  }

  batch(random: Random): Batch {
    return this.make(random, this.settings.batch);
  }

  /** `[batch * length, permutations]`. */
  private logits({ letters }: Batch): tf.Tensor2D {
    const out = this.model.apply(letters, { training: true }) as tf.Tensor3D;
    const rows = tf.reshape<tf.Rank.R2>(out, [-1, this.settings.width]);
    return tf.matMul(rows, this.tokens.embedding.table, false, true);
  }

  loss(batch: Batch): tf.Scalar {
    return crossEntropy(this.logits(batch), batch.states as tf.Tensor1D);
  }

  async evaluate() {
    const { held } = this;
    const { length } = this.settings;
    const shares = tf.tidy(() => {
      const logits = this.logits(held);
      const right = tf.cast(tf.equal(tf.argMax(logits, -1), held.states), 'float32');
      const byPosition = tf.mean(tf.reshape(right, [-1, length]), 0);
      return tf.stack([accuracy(logits, held.states as tf.Tensor1D), tf.mean(tf.slice(byPosition, length / 2))]);
    });
    const [all, late] = await shares.data();
    shares.dispose();
    return { accuracy: all, late };
  }

  dispose(): void {
    this.model.dispose();
    tf.dispose({ ...this.held });
  }
}

function start(attention: Attention, settings: Settings): Task {
  const { elements, length } = settings;
  if (!Number.isInteger(elements) || elements < 2 || elements > MOST_ELEMENTS) {
    throw new InputError(`elements must be a whole number from 2 to ${MOST_ELEMENTS}, got ${elements}`);
  }
  if (length % 2 !== 0) throw new InputError(`length must be even, got ${length}`);
  return new Tracking(attention, settings);
}

export const experiment: TrainedExperiment = {
  name: 'state_tracking',
  title: 'State tracking',
  metrics: [
    { name: 'accuracy', label: 'accuracy', better: 'higher' },
    { name: 'late', label: 'accuracy in the second half', better: 'higher' },
  ],
  settings: {
    steps: 1000,
    batch: 64,
    rate: 1e-3,
    /** Elements that are permuted: 3 makes 6 permutations, 5 makes 120. */
    elements: 3,
    /** Letters in a word. */
    length: 16,
    width: 64,
    heads: 2,
    layers: 2,
    /** Width of an MLP's middle, in multiples of `width`. */
    mlp: 4,
    /** Words of an evaluation. */
    evaluated: 256,
    target: 0.999,
  },
  /** By results/sweep.json. */
  chosen: {
    localLinear: { rate: 0.003, ridge: 0.1, scale: 0.5 },
    softmax: { rate: 0.003, scale: 0.5 },
    linear: { rate: 0.01 },
    mesa: { rate: 0.01 },
    parallax: { rate: 0.001 },
  },
  sweep: { rate: [5e-4, 1e-3, 3e-3, 1e-2], ridge: [0.1, 1, 10], scale: [0.5, 1, 2] },
  start,
};
