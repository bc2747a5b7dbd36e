import * as tf from '@tensorflow/tfjs-core';
import type { OperatorName } from '../src/index.js';
import {
  attentionWeights,
  linearAttention,
  localLinearAttention,
  mesaAttention,
  parallaxAttention,
  softmaxAttention,
} from '../src/index.js';
import type { Gradients } from './judge.js';
import type { Call, Operator, TensorName, Values } from './values.js';

/** The inputs of a call as tensors, by name. */
export type NamedTensors = Partial<Record<TensorName, tf.Tensor>>;

export function toTensor({ data, shape }: Values, dtype: 'float32' | 'bool' = 'float32'): tf.Tensor {
  return tf.tensor(Float32Array.from(data), [...shape], dtype);
}

/** Every tensor of a call, on the current backend. */
export function tensorsOf(call: Call): NamedTensors {
  return Object.fromEntries(
    Object.entries(call.tensors).map(([name, values]) => [
      name,
      toTensor(values as Values, name === 'keyMask' ? 'bool' : 'float32'),
    ]),
  );
}

function required(tensor: tf.Tensor | undefined): tf.Tensor {
  if (!tensor) throw new Error('the call lacks a tensor');
  return tensor;
}

/** Runs the operator of a call on given tensors. */
export function apply(call: Pick<Call, 'operator' | 'options'>, tensors: NamedTensors): tf.Tensor {
  const { query, key, value, probe, ...optional } = tensors;
  const [q, k, v] = [required(query), required(key), required(value)];
  const options = { ...call.options, ...optional };
  switch (call.operator) {
    case 'localLinearAttention':
      return localLinearAttention(q, k, v, options);
    case 'softmaxAttention':
      return softmaxAttention(q, k, v, options);
    case 'linearAttention':
      return linearAttention(q, k, v, options);
    case 'parallaxAttention':
      return parallaxAttention(q, k, v, required(probe), options);
    case 'mesaAttention':
      return mesaAttention(q, k, v, options);
  }
}

const shortNames: Readonly<Record<Operator, OperatorName>> = {
  localLinearAttention: 'localLinear',
  softmaxAttention: 'softmax',
  linearAttention: 'linear',
  parallaxAttention: 'parallax',
  mesaAttention: 'mesa',
};

/** The name of an operator as `attentionWeights` takes it. */
export function shortName(operator: Operator): OperatorName {
  return shortNames[operator];
}

/** The effective weights `[..., Tq, Tk]` of a call through the public function. */
export function applyWeights(
  { operator, options }: Pick<Call, 'operator' | 'options'>,
  tensors: NamedTensors,
): tf.Tensor {
  const { query, key, probe, keyMask, keyBias, ridge } = tensors;
  const [q, k] = [required(query), required(key)];
  const all = { ...options, ...(keyMask && { keyMask }), ...(keyBias && { keyBias }), ...(ridge && { ridge }) };
  if (operator === 'parallaxAttention') return attentionWeights('parallax', q, k, { ...all, probe: required(probe) });
  return attentionWeights(shortName(operator), q, k, all);
}

/** What a call gave on a backend. */
export interface Result {
  readonly out: Float32Array;
  readonly shape: readonly number[];
  readonly gradients: Gradients;
}

async function floats(tensor: tf.Tensor): Promise<Float32Array> {
  return (await tensor.data()) as Float32Array;
}

/** The output of a call on the current backend. */
export async function runForward(call: Call): Promise<{ out: Float32Array; shape: number[] }> {
  const out = tf.tidy(() => apply(call, tensorsOf(call)));
  const result = { out: await floats(out), shape: out.shape };
  out.dispose();
  return result;
}

/** The inputs of a call that have gradients. */
const differentiable = ({ tensors }: Call): TensorName[] =>
  (Object.keys(tensors) as TensorName[]).filter((name) => name !== 'keyMask');

/** Every gradient of a call, in the order of its inputs, for the cotangent `dout [..., Tq, Dv]`, on the current backend. */
export function gradientsOf(call: Call, dout: Values): tf.Tensor[] {
  return tf.tidy(() => {
    const names = differentiable(call);
    const tensors = tensorsOf(call);
    const operator = (...inputs: tf.Tensor[]) =>
      apply(call, { ...tensors, ...Object.fromEntries(names.map((name, i) => [name, inputs[i]])) });
    return tf.grads(operator)(
      names.map((name) => required(tensors[name])),
      toTensor(dout),
    );
  });
}

/** Output and every gradient of a call, for the cotangent `dout [..., Tq, Dv]`, on the current backend. */
export async function runCall(call: Call, dout: ArrayLike<number>): Promise<Result> {
  const { out, shape } = await runForward(call);
  const gradients = gradientsOf(call, { shape, data: dout });
  const read: Gradients = {};
  for (const [i, name] of differentiable(call).entries()) {
    const values = call.tensors[name];
    if (gradients[i].shape.join() !== values?.shape.join()) {
      throw new Error(`gradient of ${name} has shape [${gradients[i].shape.join()}]`);
    }
    read[name] = Float64Array.from(await floats(gradients[i]));
  }
  tf.dispose(gradients);
  return { out, shape, gradients: read };
}
