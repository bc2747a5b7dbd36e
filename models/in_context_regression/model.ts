/** Two layers of attention without MLP between two dense layers. */
import * as tfl from '@tensorflow/tfjs-layers';
import { layers } from '../../src/layers/index.js';
import { attentionLayer } from '../common/attention_layer.js';
import type { Attention, Settings } from '../trainer/experiment.js';

/** `[batch, tokens, features]` to `[batch, tokens, outputs]`; each attention reads its normalised input and adds to it. */
export function regressionModel(
  attention: Attention,
  { heads, width, ridge, layers: depth }: Settings,
  features: number,
  outputs: number,
): tfl.LayersModel {
  const input = tfl.input({ shape: [null, features] });
  const dense = (units: number, name: string) => tfl.layers.dense({ units, name });
  let x = dense(width, 'embedding').apply(input) as tfl.SymbolicTensor;
  for (let i = 0; i < depth; i++) {
    const normed = layers.layerNormalization({ name: `norm_${i}`, epsilon: 1e-5 }).apply(x);
    const attended = attentionLayer(attention, {
      name: `attention_${i}`,
      numHeads: heads,
      keyDim: width / heads,
      ridge,
    }).apply(normed);
    x = tfl.layers.add({ name: `residual_${i}` }).apply([x, attended as tfl.SymbolicTensor]) as tfl.SymbolicTensor;
  }
  const normed = layers.layerNormalization({ name: 'norm_last', epsilon: 1e-5 }).apply(x) as tfl.SymbolicTensor;
  return tfl.model({ inputs: input, outputs: dense(outputs, 'output').apply(normed) as tfl.SymbolicTensor });
}
