/** A trained model at work: which value followed a key, and what the model looked at. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import type { WeighedLayer } from '../../src/layers/index.js';
import { InputError } from '../common/input_error.js';
import { TokenEmbedding } from '../common/token_embedding.js';
import { type SavedNotes, savedNotes } from '../trainer/saved_notes.js';
import { recallLogits } from './model.js';

export interface Answer {
  /** The likeliest value. */
  readonly token: number;
  readonly probability: number;
}

export class Recaller {
  readonly notes: SavedNotes;
  private readonly embedding: TokenEmbedding;
  /** The last attention layer, and the model up to it. */
  private readonly last: tfl.layers.Layer & WeighedLayer;
  private readonly before: tfl.LayersModel;

  /** @param source What messages call the model. */
  constructor(
    private readonly model: tfl.LayersModel,
    source: string,
  ) {
    this.notes = savedNotes(model.getUserDefinedMetadata(), 'associative_recall', source);
    const embedding = model.getLayer('tokens');
    if (!(embedding instanceof TokenEmbedding)) throw new InputError(`${source}: layer 'tokens' is no TokenEmbedding`);
    this.embedding = embedding;
    const index = this.notes.settings.layers - 1;
    this.last = model.getLayer(`attention_${index}`) as tfl.layers.Layer & WeighedLayer;
    const normed = model.getLayer(`attention_norm_${index}`).output as tfl.SymbolicTensor;
    this.before = tfl.model({ inputs: model.inputs, outputs: normed });
  }

  get sizes(): { readonly pairs: number; readonly vocabulary: number } {
    const { pairs, vocabulary } = this.notes.settings;
    return { pairs, vocabulary };
  }

  /** Answers for the last `pairs` tokens of a sequence of `3 pairs`, as `recallBatch` makes it. */
  async answer(tokens: Int32Array): Promise<Answer[]> {
    const half = this.sizes.vocabulary / 2;
    const found = tf.tidy(() => {
      const out = this.model.apply(idsOf(tokens)) as tf.Tensor3D;
      const probabilities = tf.softmax(recallLogits(out, this.embedding.table, this.notes.settings));
      return { best: tf.argMax(probabilities, -1), probability: tf.max(probabilities, -1) };
    });
    const [best, probability] = await Promise.all([found.best.data(), found.probability.data()]);
    tf.dispose(found);
    return Array.from(best, (value, i) => ({ token: half + value, probability: probability[i] }));
  }

  /** What the token at `position` looks at in the last layer, of the tokens up to itself: `[position + 1]`, mean of the heads. */
  async weights(tokens: Int32Array, position: number): Promise<Float32Array> {
    const weights = tf.tidy(() => {
      const x = this.before.apply(idsOf(tokens.subarray(0, position + 1))) as tf.Tensor;
      return tf.mean(this.last.attentionWeights(x, { rows: 1 }), [0, 1, 2]);
    });
    try {
      return await weights.data<'float32'>();
    } finally {
      weights.dispose();
    }
  }

  dispose(): void {
    this.before.dispose();
    this.model.dispose();
  }
}

const idsOf = (tokens: Int32Array): tf.Tensor2D => tf.tensor2d(tokens, [1, tokens.length], 'int32');
