/** Every kind of layer, and how the tests make one. */
import type * as tf from '@tensorflow/tfjs-core';
import { layers } from '../../src/layers/index.js';
import { Random } from '../random.js';
import { toTensor } from '../run_call.js';

export const attentionKinds = [
  'localLinearAttention',
  'softmaxAttention',
  'linearAttention',
  'parallaxAttention',
  'mesaAttention',
] as const;

export const kinds = [...attentionKinds, 'transformerBlock'] as const;

export type AttentionKind = (typeof attentionKinds)[number];
export type Kind = (typeof kinds)[number];

/** Arguments that every kind takes. */
export type CommonArgs = Omit<Parameters<typeof layers.softmaxAttention>[0], 'outputShape'>;

/** A small layer of a kind; a block is one of local linear attention. */
export function makeLayer(kind: Kind, args: Partial<CommonArgs> = {}) {
  const all = { numHeads: 2, keyDim: 4, ...args };
  return kind === 'transformerBlock'
    ? layers.transformerBlock({ attention: 'localLinear', mlpRatio: 2, ...all })
    : layers[kind](all);
}

export function normals(seed: number, ...shape: number[]): tf.Tensor {
  return toTensor(new Random(seed).normals(shape));
}

/** Sets every weight of a layer or a model to normal numbers, biases among them. */
export function randomizeWeights(
  owner: { getWeights(): tf.Tensor[]; setWeights(weights: tf.Tensor[]): void },
  seed = 1,
): void {
  const random = new Random(seed);
  owner.setWeights(owner.getWeights().map(({ shape }) => toTensor(random.normals(shape, 0.5))));
}
