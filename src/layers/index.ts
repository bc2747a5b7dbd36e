/**
 * Keras-style attention layers; importing this module registers them with tfjs, so that saved models load.
 *
 * @packageDocumentation
 */
import '../backends/cpu.js';

import { LayerNormalization, type LayerNormalizationArgs } from './layer_normalization.js';
import { LinearAttention, type LinearAttentionArgs } from './linear_attention.js';
import { LocalLinearAttention, type LocalLinearAttentionArgs } from './local_linear_attention.js';
import { MesaAttention, type MesaAttentionArgs } from './mesa_attention.js';
import { ParallaxAttention, type ParallaxAttentionArgs } from './parallax_attention.js';
import { register } from './register.js';
import { SoftmaxAttention, type SoftmaxAttentionArgs } from './softmax_attention.js';
import { TransformerBlock, type TransformerBlockArgs } from './transformer_block.js';

export type {
  LayerNormalization,
  LayerNormalizationArgs,
  LinearAttention,
  LinearAttentionArgs,
  LocalLinearAttention,
  LocalLinearAttentionArgs,
  MesaAttention,
  MesaAttentionArgs,
  ParallaxAttention,
  ParallaxAttentionArgs,
  SoftmaxAttention,
  SoftmaxAttentionArgs,
  TransformerBlock,
  TransformerBlockArgs,
};
export type { AttentionArgs } from './arguments.js';
export { generate, type GenerateOptions, type TokenInfo } from './generate.js';
export type { Prompt } from './generation/prompt.js';
export type { LayerCache, LayerCacheOptions, LayerStepOptions, SteppedLayer } from './layer_cache.js';
export type { RotaryArgs } from './rotary.js';
export type { WeighedLayer, WeightOptions } from './weight_rows.js';
export type { CallOptions } from './sequence_layer.js';
export type { BlockArgs as TransformerBlockOwnArgs, KindArgs as TransformerBlockKinds } from './transformer_block.js';

register(LocalLinearAttention);
register(SoftmaxAttention);
register(LinearAttention);
register(ParallaxAttention);
register(MesaAttention);
register(TransformerBlock);
register(LayerNormalization);

/**
 * The layers. Inputs are `[B, T, features]`, float32 (`int32` and `bool` are cast); the result is float32, `[B, Tq,
 * features of the query]` or `[B, Tq, ...outputShape]`.
 */
export const layers = {
  /**
   * Multi-head local linear attention: each query fits an affine function to the pairs of keys and values by ridge
   * regression, weighted by softmax scores, and returns its value at the query.
   *
   * ```js
   * const model = tf.sequential();
   * model.add(tf.layers.embedding({ inputDim: 100, outputDim: 32, inputLength: 64, maskZero: true }));
   * model.add(layers.localLinearAttention({ numHeads: 4, keyDim: 8, useCausalMask: true, trainableRidge: true }));
   * model.add(tf.layers.dense({ units: 100, activation: 'softmax' }));
   * ```
   *
   * `apply(x)` is self-attention, `apply([query, value])` and `apply([query, value, key])` cross-attention, each of
   * several with a mask `[B, Tv]` of the values (bool, or zeros and ones) as a last input. With one input its mask (from
   * `Masking`, `Embedding({ maskZero: true })` or `{ mask }`) hides keys and is handed on.
   *
   * Weights, in this order: `query/kernel [dim, H, Dk]`, `query/bias [H, Dk]`, `key/...`, `value/kernel [dim, H, Dv]`,
   * `value/bias [H, Dv]`, `attention_output/kernel [H, Dv, out]`, `attention_output/bias [out]`, `ridge [H]`.
   *
   * @param args `numHeads`, `keyDim`, `valueDim` (keyDim), `ridge` (1), `trainableRidge` (false), `tolerance` (1e-6),
   *   `maxIterations` (2 keyDim), `solver` ('auto'), `dropout` (0), `seed`, `useBias` (true), `outputShape`,
   *   `useCausalMask` (false), `rotary` (false), `precision` ('high'), `kernelInitializer` ('glorotUniform') and its
   *   siblings for biases, regularizers and constraints.
   * @throws Error that names layer and argument where one is unknown, missing or unusable, or inputs or masks do not fit.
   *
   * Source: Local Linear Attention, arXiv 2510.01450; Attention Is All You Need, arXiv 1706.03762, section 3.2.2.
   */
  localLinearAttention: (args: LocalLinearAttentionArgs): LocalLinearAttention => new LocalLinearAttention(args),

  /**
   * Multi-head softmax attention: Keras' `MultiHeadAttention`, whose weights `setWeights` takes.
   *
   * ```js
   * const out = layers.softmaxAttention({ numHeads: 2, keyDim: 16 }).apply([query, value]);
   * ```
   *
   * @param args As for `localLinearAttention`, without `ridge`, `trainableRidge`, `tolerance`, `maxIterations`, `solver`.
   *
   * Source: Attention Is All You Need, arXiv 1706.03762, section 3.2.
   */
  softmaxAttention: (args: SoftmaxAttentionArgs): SoftmaxAttention => new SoftmaxAttention(args),

  /**
   * Multi-head linear attention, in time linear in the number of tokens.
   *
   * ```js
   * const out = layers.linearAttention({ numHeads: 2, keyDim: 16, featureMap: 'relu' }).apply(x);
   * ```
   *
   * @param args As for `softmaxAttention`, and `featureMap` ('elu+1', 'relu' or 'identity'), `normalize` (true).
   *
   * Source: Transformers are RNNs, arXiv 2006.16236.
   */
  linearAttention: (args: LinearAttentionArgs): LinearAttention => new LinearAttention(args),

  /**
   * Multi-head Parallax attention: a projection of the query, `probe/kernel [dim, H, Dk]` after the other weights, takes
   * the place of local linear attention's solver.
   *
   * ```js
   * const out = layers.parallaxAttention({ numHeads: 2, keyDim: 16, useCausalMask: true }).apply(x);
   * ```
   *
   * @param args As for `softmaxAttention`.
   *
   * Source: Parallax, arXiv 2605.29157.
   */
  parallaxAttention: (args: ParallaxAttentionArgs): ParallaxAttention => new ParallaxAttention(args),

  /**
   * Multi-head mesa attention: ridge regression from keys to values on all visible keys, evaluated at the query.
   *
   * ```js
   * const out = layers.mesaAttention({ numHeads: 2, keyDim: 16, ridge: 4, trainableRidge: true }).apply(x);
   * ```
   *
   * @param args As for `softmaxAttention`, and `ridge` (1; added to a *sum* over keys), `trainableRidge` (false).
   *
   * Source: MesaNet, arXiv 2506.05233, without decay and gates.
   */
  mesaAttention: (args: MesaAttentionArgs): MesaAttention => new MesaAttention(args),

  /**
   * A pre-norm residual block, `x + attention(norm(x))` and then `x + mlp(norm(x))`, where the mlp is a dense layer of
   * `mlpRatio` times as many units, `gelu` (exact) and a dense layer back.
   *
   * ```js
   * const block = layers.transformerBlock({ attention: 'localLinear', numHeads: 4, keyDim: 8, useCausalMask: true });
   * ```
   *
   * `apply(x)`, or `apply([x, mask])` with a mask `[B, T]`. Weights: `attention_norm/gamma` and `beta`, those of the
   * attention layer under `attention/`, `mlp_norm/...`, `mlp_hidden/kernel` and `bias`, `mlp_output/...`.
   *
   * @param args `attention` ('localLinear', 'softmax', 'linear', 'parallax' or 'mesa'), `mlpRatio` (4), `epsilon` (1e-3),
   *   and all of the attention layer's but `outputShape`. `useBias`, initializers, regularizers and constraints hold for
   *   the mlp, too; `dropout` drops in the attention layer and once more of what the mlp adds.
   *
   * Source: On Layer Normalization in the Transformer Architecture, arXiv 2002.04745, the Pre-LN block.
   */
  transformerBlock: (args: TransformerBlockArgs): TransformerBlock => new TransformerBlock(args),

  /**
   * Layer normalization over the last axis, as `tf.layers.layerNormalization`, whose numbers and weights it has: `gamma` and
   * `beta`, `[features]`. Its gradient takes a dozen kernels; that of tfjs' layer takes two for every token.
   *
   * ```js
   * model.add(layers.layerNormalization());
   * ```
   *
   * @param args `epsilon` (1e-3).
   *
   * Source: Layer Normalization, arXiv 1607.06450.
   */
  layerNormalization: (args: LayerNormalizationArgs = {}): LayerNormalization => new LayerNormalization(args),
};
