/** Sources that users of the package could have written. */

/** Every entry, as the type checker sees it. */
export const TYPES = `import * as tf from '@tensorflow/tfjs';
import { attentionWeights, localLinearAttention, type LocalLinearAttentionOptions } from 'tfjs-lla';
import { directory, initBackend, type InitializedBackend } from 'tfjs-lla/node';
import { layers, type LocalLinearAttentionArgs, type TransformerBlock } from 'tfjs-lla/layers';
import 'tfjs-lla/chained';
import { loadSafetensors, saveSafetensors, torchAttention } from 'tfjs-lla/safetensors';
const options: LocalLinearAttentionOptions = { causal: true, ridge: 0.5, solver: 'direct' };
const x: tf.Tensor3D = tf.zeros([1, 2, 3]);
const out: tf.Tensor = localLinearAttention(x, x, [[[1], [2]]], options);
export const weights: tf.Tensor = attentionWeights('localLinear', x, x, options);
export const chained: tf.Tensor = out.parallaxAttention(x, x, x, { causal: true });
export const ready: Promise<InitializedBackend> = initBackend('auto');
const map = torchAttention('attn', { layer: 'one' });
export const written = (model: tf.LayersModel): Promise<Uint8Array> => saveSafetensors(model, { map, dtype: 'F16' });
export const loaded = (layer: tf.layers.Layer, file: File) => loadSafetensors(layer, file, { map, strict: false });
export const set = (weights: tf.Variable[]) => loadSafetensors({ weights }, '/model.safetensors');
const args: LocalLinearAttentionArgs = { numHeads: 2, keyDim: 4, kernelInitializer: 'heNormal', trainableRidge: true };
export const model: tf.Sequential = tf.sequential({ layers: [layers.localLinearAttention(args)] });
export const block: TransformerBlock = layers.transformerBlock({ attention: 'linear', featureMap: 'relu', ...args });
export const saved = model.save(directory('here'));
// @ts-expect-error An argument is missing.
layers.softmaxAttention({ numHeads: 2 });
// @ts-expect-error Only linear attention has a feature map.
layers.transformerBlock({ attention: 'softmax', featureMap: 'relu', numHeads: 2, keyDim: 4 });
// @ts-expect-error The type of an option is checked.
localLinearAttention(x, x, x, { causal: 'yes' });
// @ts-expect-error The value is missing.
x.softmaxAttention(x);`;

/** Weights that go through a file and back. */
export const WEIGHTS = `import * as tf from '@tensorflow/tfjs';
import { loadSafetensors, saveSafetensors } from 'tfjs-lla/safetensors';
const weights = [tf.variable(tf.tensor1d([1, 2]), true, 'w')];
saveSafetensors({ weights }).then(async (bytes) => {
  weights[0].assign(tf.zeros([2]));
  await loadSafetensors({ weights }, new Blob([bytes]));
  console.log(weights[0].dataSync().join());
});`;
