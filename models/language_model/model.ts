/** A small causal transformer over bytes. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { layers } from '../../src/layers/index.js';
import { InputError } from '../common/input_error.js';
import { crossEntropy } from '../common/losses.js';
import { oneHotRows } from '../common/one_hot.js';
import type { Attention, Settings } from '../trainer/experiment.js';
import { VOCABULARY, type Windows } from './data.js';

export interface Size {
  /** Features of a token. */
  readonly dim: number;
  readonly heads: number;
  readonly layers: number;
  /** Ridge at the start, of attentions that have one; each head trains its own. */
  readonly ridge: number;
}

/** The settings of a run that make the model, checked. */
export function sizeOf({ dim, heads, layers, ridge }: Settings): Size {
  if (!Number.isSafeInteger(layers) || layers < 1) {
    throw new InputError(`setting layers must be a whole number of at least 1, got ${layers}`);
  }
  if (!Number.isSafeInteger(heads) || heads < 1 || dim < 1 || dim % (2 * heads) !== 0) {
    throw new InputError(`setting dim must be an even multiple of heads, got ${dim} for ${heads} heads`);
  }
  return { dim, heads, layers, ridge };
}

/** Ids `[B, T]` to logits `[B, T, 256]`; layers of tfjs and of this package only, so that it is saved and loaded as any. */
export function languageModel(attention: Attention, { dim, heads, layers: depth, ridge }: Size): tfl.Sequential {
  const keyDim = dim / heads;
  const common = { numHeads: heads, keyDim, useCausalMask: true, rotary: true };
  const block = (index: number) => {
    const name = `block_${index}`;
    switch (attention) {
      case 'localLinear':
      case 'mesa':
        return layers.transformerBlock({ ...common, name, attention, ridge, trainableRidge: true });
      case 'linear':
        return layers.transformerBlock({ ...common, name, attention });
      default:
        return layers.transformerBlock({ ...common, name, attention });
    }
  };
  return tfl.sequential({
    layers: [
      tfl.layers.embedding({ name: 'bytes', inputDim: VOCABULARY, outputDim: dim, batchInputShape: [null, null] }),
      ...Array.from({ length: depth }, (_, index) => block(index)),
      layers.layerNormalization({ name: 'norm' }),
      tfl.layers.dense({ name: 'logits', units: VOCABULARY }),
    ],
  });
}

/**
 * The model's output for ids `[B, T]`, by a matrix product with a one-hot encoding in the place of its embedding: a
 * lookup's gradient is a sum by segments, which backend `wasm` has not and `webgpu` adds up in an order that differs from
 * run to run.
 */
function logitsOf(model: tfl.LayersModel, ids: tf.Tensor2D): tf.Tensor2D {
  const [embedding, ...rest] = model.layers;
  const blocks = rest.slice(0, -2);
  const table = embedding.weights[0].read() as tf.Tensor2D;
  const [B, T] = ids.shape;
  const dim = table.shape[1];
  const run = (x: tf.Tensor, layer: tfl.layers.Layer) => layer.apply(x) as tf.Tensor;
  const embedded: tf.Tensor = tf.reshape(tf.matMul(oneHotRows(tf.reshape(ids, [-1]), VOCABULARY), table), [B, T, dim]);
  // The last two look at a token at a time; as a matrix, tfjs' dense layer has less to do.
  const rows: tf.Tensor = tf.reshape(blocks.reduce(run, embedded), [B * T, dim]);
  return rest.slice(-2).reduce(run, rows) as tf.Tensor2D;
}

/** Mean over all bytes of `-ln p(byte | those before it in its window)`, in nats; differentiable. */
export function lossOf(model: tfl.LayersModel, { inputs, targets }: Windows): tf.Scalar {
  return tf.tidy(() => crossEntropy(logitsOf(model, inputs), tf.reshape(targets, [-1])));
}
