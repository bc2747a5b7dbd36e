/** The weights of a model at the start of a run. */
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel, LayerVariable } from '@tensorflow/tfjs-layers';
import type { Random } from './random.js';

const isVariable = (tensor: tf.Tensor): tensor is tf.Variable => tensor instanceof tf.Variable;

/** The variables that are trained, in the model's order. */
export function trainedVariables(model: LayersModel): tf.Variable[] {
  return model.trainableWeights.map((weight) => {
    const variable = weight.read();
    if (!isVariable(variable)) throw new Error(`${weight.name} holds no variable`);
    return variable;
  });
}

/**
 * Gives every kernel its first values: Glorot and Bengio's normal distribution, embeddings with deviation 0.02. The
 * layers' own initializers are not repeatable without a seed, and with one give kernels of equal shape equal values.
 */
export function setFirstValues(model: LayersModel, random: Random, scale: number): void {
  for (const weight of model.trainableWeights) {
    const name = weight.originalName;
    const shape = weight.read().shape;
    if (shape.length < 2) continue;
    const deviation = name.endsWith('/embeddings')
      ? 0.02
      : glorot(weight) * (/\bquery\/kernel$/.test(name) ? scale : 1);
    const size = tf.util.sizeFromShape(shape);
    const values = tf.tensor(
      random.normals(size).map((value) => value * deviation),
      shape,
    );
    weight.write(values);
    values.dispose();
  }
}

/** Heads belong to the output of a projection, `[dim, H, D]`, and to the input of the last one, `[H, D, out]`. */
function glorot(weight: LayerVariable): number {
  const { shape } = weight.read();
  const inputs = weight.originalName.endsWith('attention_output/kernel') ? shape.length - 1 : 1;
  const fanIn = tf.util.sizeFromShape(shape.slice(0, inputs));
  const fanOut = tf.util.sizeFromShape(shape.slice(inputs));
  return Math.sqrt(2 / (fanIn + fanOut));
}
