/** Embedding whose gradient is the same to the bit each time, on every backend. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { oneHotRows } from './one_hot.js';

export interface TokenEmbeddingArgs {
  readonly name: string;
  readonly vocabulary: number;
  readonly width: number;
}

/**
 * `[batch, tokens]` of int32 to `[batch, tokens, width]`.
 *
 * The gradient is a matrix product. That of tfjs' own layer, `UnsortedSegmentSum`, adds on `webgpu` in whatever order
 * its threads come, so that no run repeats another, and `wasm` has none.
 */
export class TokenEmbedding extends tfl.layers.Layer {
  static readonly className = 'TokenEmbeddingLayer';
  private readonly args: TokenEmbeddingArgs;

  constructor(args: TokenEmbeddingArgs) {
    super({ name: args.name });
    this.args = args;
  }

  override build(): void {
    const { vocabulary, width } = this.args;
    this.addWeight('embeddings', [vocabulary, width], 'float32', tfl.initializers.zeros());
    this.built = true;
  }

  /** `[vocabulary, width]`. */
  get table(): tf.Tensor2D {
    return tf.reshape(this.weights[0].read(), [this.args.vocabulary, this.args.width]);
  }

  override computeOutputShape(inputShape: tfl.Shape | tfl.Shape[]): tfl.Shape {
    return [...(inputShape as tfl.Shape), this.args.width];
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    const tokens = Array.isArray(inputs) ? inputs[0] : inputs;
    const { vocabulary, width } = this.args;
    return tf.tidy(() => {
      const ids = tf.cast(tf.reshape<tf.Rank.R1>(tokens, [-1]), 'int32');
      const lookUp = tf.customGrad((...[table, save]: (tf.Tensor | ((tensors: tf.Tensor[]) => void))[]) => {
        if (typeof save === 'function') save([ids]);
        return {
          value: tf.gather(table as tf.Tensor, ids),
          gradFunc: (dy: tf.Tensor, [saved]: tf.Tensor[]) =>
            tf.matMul(oneHotRows(saved as tf.Tensor1D, vocabulary), dy, true, false),
        };
      });
      return tf.reshape(lookUp(this.table), [...tokens.shape, width]);
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return { ...super.getConfig(), ...this.args };
  }
}
tf.serialization.registerClass(TokenEmbedding);
