/** The models that the training test interrupts, and their data: the same in both processes. */
import * as tf from '@tensorflow/tfjs-core';
import {
  input,
  layers as tfLayers,
  type LayersModel,
  model,
  sequential,
  type SymbolicTensor,
} from '@tensorflow/tfjs-layers';
import { type CommonArgs, type Kind, makeLayer, normals, randomizeWeights } from './kinds.js';

export const forms = ['sequential', 'functional'] as const;
export type Form = (typeof forms)[number];

const EPOCHS = { batchSize: 4, shuffle: false } as const;

/** A small model with every float32 of its beginning given. */
export function makeModel(kind: Kind, form: Form): LayersModel {
  const args = { useCausalMask: true, rotary: true, kernelRegularizer: 'l1l2', kernelConstraint: 'maxNorm' } as const;
  const last = tfLayers.dense({ units: 2, name: `${kind}_${form}_last` });
  const made = form === 'sequential' ? chained(kind, args, last) : joined(kind, args, last);
  randomizeWeights(made, 3);
  // Not Adam: loading it tfjs takes powers of its decay rates anew, which rounds another way than multiplying did.
  made.compile({ optimizer: 'rmsprop', loss: 'meanSquaredError' });
  return made;
}

/** Embedding, layer and dense. */
function chained(kind: Kind, args: Partial<CommonArgs>, last: tfLayers.Layer): LayersModel {
  const hasRidge = kind === 'localLinearAttention' || kind === 'mesaAttention' || kind === 'transformerBlock';
  const trained = hasRidge ? { trainableRidge: true } : {};
  const ids = tfLayers.embedding({ inputDim: 7, outputDim: 6, inputLength: 5, maskZero: true, name: `${kind}_ids` });
  const layer = makeLayer(kind, { ...args, ...trained, name: `${kind}_a` });
  return sequential({ layers: [ids, layer, last], name: `${kind}_sequential` });
}

/** All the inputs that a layer can have: a block has one and a mask. */
function joined(kind: Kind, args: Partial<CommonArgs>, last: tfLayers.Layer): LayersModel {
  const shapes = kind === 'transformerBlock' ? [[5, 6], [5]] : [[5, 6], [4, 3], [4, 2], [4]];
  const symbols = shapes.map((shape, i) => input({ shape, name: `${kind}_input_${i}` }));
  const attended = makeLayer(kind, { ...args, name: `${kind}_b` }).apply(symbols) as SymbolicTensor;
  return model({ inputs: symbols, outputs: last.apply(attended) as SymbolicTensor, name: `${kind}_functional` });
}

/** The inputs and targets of a model. */
function dataOf(kind: Kind, form: Form): { x: tf.Tensor | tf.Tensor[]; y: tf.Tensor } {
  const y = normals(11, 8, 5, 2);
  if (form === 'sequential') {
    const ids = Array.from({ length: 40 }, (_, i) => (i * i + 3 * i) % 7);
    return { x: tf.tensor2d(ids, [8, 5]), y };
  }
  const mask = (length: number) =>
    tf.tensor2d(
      Array.from({ length: 8 * length }, (_, i) => Number(i % 3 !== 1)),
      [8, length],
    );
  if (kind === 'transformerBlock') return { x: [normals(12, 8, 5, 6), mask(5)], y };
  return { x: [normals(12, 8, 5, 6), normals(13, 8, 4, 3), normals(14, 8, 4, 2), mask(4)], y };
}

/** Trains for some epochs; the loss of each. */
export async function train(trained: LayersModel, kind: Kind, form: Form, epochs: number): Promise<number[]> {
  const { x, y } = dataOf(kind, form);
  const { history } = await trained.fit(x, y, { ...EPOCHS, epochs });
  tf.dispose([x, y]);
  return history.loss.map(Number);
}

/** What a model predicts, on the current backend. */
export async function predict(trained: LayersModel, kind: Kind, form: Form): Promise<number[]> {
  const { x, y } = dataOf(kind, form);
  const out = trained.predict(x) as tf.Tensor;
  const numbers = Array.from(await out.data());
  tf.dispose([x, y, out]);
  return numbers;
}

/** Everything a model has learned and predicts, bit by bit. */
export async function fingerprint(trained: LayersModel, kind: Kind, form: Form): Promise<Record<string, string>> {
  const { x, y } = dataOf(kind, form);
  const out = trained.predict(x) as tf.Tensor;
  const tensors = [
    ...trained.weights.map((weight) => [weight.originalName, weight.read()] as const),
    ['out', out] as const,
  ];
  const bits = async (tensor: tf.Tensor) =>
    Buffer.from(Float32Array.from(await tensor.data()).buffer).toString('base64');
  const entries: [string, string][] = [];
  for (const [name, tensor] of tensors) entries.push([name, await bits(tensor)]);
  tf.dispose([x, y, out]);
  return Object.fromEntries(entries);
}
