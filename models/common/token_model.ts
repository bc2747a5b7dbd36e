/** A causal model of tokens: embedding, then layers of attention, with or without an MLP. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { layers as ownLayers } from '../../src/layers/index.js';
import type { Attention } from '../trainer/experiment.js';
import { attentionLayer } from './attention_layer.js';
import { TokenEmbedding } from './token_embedding.js';

export interface TokenModelArgs {
  readonly vocabulary: number;
  readonly width: number;
  readonly heads: number;
  readonly layers: number;
  readonly ridge: number;
  /** Width of an MLP's middle in multiples of `width`; 0 for none. */
  readonly mlp: number;
}

export interface TokenModel {
  /** `[batch, tokens]` of int32 to `[batch, tokens, width]`, normalised. */
  readonly model: tfl.LayersModel;
  /** Its table serves for the output, too: a logit is the product of a token's embedding and the model's output. */
  readonly embedding: TokenEmbedding;
}

/** Positions are rotated into queries and keys of every layer. */
export function tokenModel(attention: Attention, args: TokenModelArgs): TokenModel {
  const { vocabulary, width, heads, layers, ridge, mlp } = args;
  const input = tfl.input({ shape: [null], dtype: 'int32' });
  const embedding = new TokenEmbedding({ name: 'tokens', vocabulary, width });
  let x = embedding.apply(input) as tfl.SymbolicTensor;
  const norm = (name: string) => ownLayers.layerNormalization({ name, epsilon: 1e-5 });
  const added = (name: string, more: tfl.SymbolicTensor) =>
    tfl.layers.add({ name }).apply([x, more]) as tfl.SymbolicTensor;
  for (let i = 0; i < layers; i++) {
    const args = { name: `attention_${i}`, numHeads: heads, keyDim: width / heads, ridge, rotary: true };
    const attended = attentionLayer(attention, args).apply(norm(`attention_norm_${i}`).apply(x));
    x = added(`attention_residual_${i}`, attended as tfl.SymbolicTensor);
    if (mlp === 0) continue;
    const hidden = tfl.layers.dense({ units: mlp * width, activation: 'gelu', name: `mlp_hidden_${i}` });
    const output = tfl.layers.dense({ units: width, name: `mlp_output_${i}` });
    const mixed = output.apply(hidden.apply(norm(`mlp_norm_${i}`).apply(x))) as tfl.SymbolicTensor;
    x = added(`mlp_residual_${i}`, mixed);
  }
  const model = tfl.model({ inputs: input, outputs: norm('last_norm').apply(x) as tfl.SymbolicTensor });
  return { model, embedding };
}

/** Share of rows whose largest logit is the answer's. */
export function accuracy(logits: tf.Tensor2D, answers: tf.Tensor1D): tf.Scalar {
  return tf.tidy(() => tf.mean<tf.Scalar>(tf.cast(tf.equal(tf.argMax(logits, -1), answers), 'float32')));
}
