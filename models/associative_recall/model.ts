import * as tf from '@tensorflow/tfjs-core';
import { type TokenModel, tokenModel } from '../common/token_model.js';
import type { Attention, Settings } from '../trainer/experiment.js';

/** Layers of attention without MLP and without a convolution: what stands beside a key has to be found by attention. */
export function recallModel(attention: Attention, settings: Settings): TokenModel {
  const { vocabulary, width, heads, layers, ridge } = settings;
  return tokenModel(attention, { vocabulary, width, heads, layers, ridge, mlp: 0 });
}

/**
 * `[batch * pairs, vocabulary / 2]`: at each key that comes again, for each token that is a value.
 *
 * @param out `[batch, 3 pairs, width]`, the model's output.
 * @param table `[vocabulary, width]`, its embedding.
 */
export function recallLogits(out: tf.Tensor3D, table: tf.Tensor2D, { pairs, vocabulary }: Settings): tf.Tensor2D {
  const width = out.shape[2];
  const asked = tf.reshape<tf.Rank.R2>(tf.slice(out, [0, 2 * pairs, 0], [-1, pairs, width]), [-1, width]);
  const values = tf.slice(table, [vocabulary / 2, 0], [vocabulary / 2, width]);
  return tf.matMul(asked, values, false, true);
}
