import * as tf from '@tensorflow/tfjs-core';
import { InputError } from '../common/input_error.js';
import { crossEntropy } from '../common/losses.js';
import { accuracy, type TokenModel } from '../common/token_model.js';
import type { Attention, Batch, Settings, Task, TrainedExperiment } from '../trainer/experiment.js';
import { Random } from '../trainer/random.js';
import { recallBatch } from './data.js';
import { recallLogits, recallModel } from './model.js';

class Recall implements Task {
  private readonly tokens: TokenModel;
  private readonly held: Batch;

  constructor(
    attention: Attention,
    private readonly settings: Settings,
  ) {
    this.tokens = recallModel(attention, settings);
    this.held = this.make(new Random('associative_recall', 'held out'), settings.evaluated);
  }

  get model() {
    return this.tokens.model;
  }

  /**
   * Equal biases of queries and keys, rotated, make the first layer look at near tokens to begin with. At zero the choice
   * of a place has no gradient, and for hundreds of steps a model learns no more than which values are in its context.
   */
  prepare(): void {
    for (const weight of this.model.trainableWeights) {
      if (!/attention_0\/(query|key)\/bias$/.test(weight.originalName)) continue;
      const values = tf.fill(weight.read().shape, this.settings.locality);
      weight.write(values);
      values.dispose();
    }
  }

  private make(random: Random, batch: number): Batch {
    const { pairs, vocabulary } = this.settings;
    const { tokens, answers } = recallBatch(random, { batch, pairs, vocabulary });
    const half = answers.map((token) => token - vocabulary / 2);
    return { tokens: tf.tensor2d(tokens, [batch, 3 * pairs], 'int32'), answers: tf.tensor1d(half, 'int32') };
  }

  batch(random: Random): Batch {
    return this.make(random, this.settings.batch);
  }

  private logits({ tokens }: Batch): tf.Tensor2D {
    const out = this.model.apply(tokens, { training: true }) as tf.Tensor3D;
    return recallLogits(out, this.tokens.embedding.table, this.settings);
  }

  loss(batch: Batch): tf.Scalar {
    return crossEntropy(this.logits(batch), batch.answers as tf.Tensor1D);
  }

  async evaluate() {
    const share = tf.tidy(() => accuracy(this.logits(this.held), this.held.answers as tf.Tensor1D));
    const [value] = await share.data();
    share.dispose();
    return { accuracy: value };
  }

  dispose(): void {
    this.model.dispose();
    tf.dispose({ ...this.held });
  }
}

function start(attention: Attention, settings: Settings): Task {
  const { pairs, vocabulary } = settings;
  if (vocabulary % 2 !== 0 || vocabulary < 2 * pairs) {
    throw new InputError(`vocabulary must be even and at least twice the ${pairs} pairs, got ${vocabulary}`);
  }
  return new Recall(attention, settings);
}

export const experiment: TrainedExperiment = {
  name: 'associative_recall',
  title: 'Multi-query associative recall',
  metrics: [{ name: 'accuracy', label: 'accuracy', better: 'higher' }],
  settings: {
    steps: 800,
    batch: 64,
    rate: 3e-3,
    evaluateEvery: 100,
    /** Pairs in a sequence of three times as many tokens. */
    pairs: 16,
    /** Tokens: half of them keys, half values. */
    vocabulary: 1024,
    width: 64,
    heads: 1,
    layers: 2,
    /** First value of the biases of queries and keys in the first layer. */
    locality: 1.5,
    /** Sequences of an evaluation. */
    evaluated: 256,
    target: 0.999,
  },
  /** By results/sweep.json. */
  chosen: {
    localLinear: { rate: 0.003 },
    softmax: { rate: 0.01 },
    linear: { rate: 0.01, scale: 0.5, locality: 2 },
    mesa: { rate: 0.003, scale: 0.5, locality: 2 },
    parallax: { rate: 0.003, locality: 2 },
  },
  sweep: { rate: [1e-3, 3e-3, 1e-2], ridge: [0.1, 1, 10], scale: [0.5, 1, 2], locality: [1, 1.5, 2] },
  start,
};
