import type { AttentionDims } from '../kernels/common/dims.js';
import type { Gradient, ScoredProblem } from '../kernels/common/reference.js';
import * as linear from '../kernels/linear_attention/reference.js';
import type { LinearProblem } from '../kernels/linear_attention/reference.js';
import * as localLinear from '../kernels/local_linear_attention/reference.js';
import type { LocalLinearProblem } from '../kernels/local_linear_attention/reference.js';
import * as mesa from '../kernels/mesa_attention/reference.js';
import type { MesaProblem } from '../kernels/mesa_attention/reference.js';
import * as parallax from '../kernels/parallax_attention/reference.js';
import type { ParallaxProblem } from '../kernels/parallax_attention/reference.js';
import * as softmax from '../kernels/softmax_attention/reference.js';
import { broadcast, sizeOf, sumTo } from './values.js';
import type { Call, TensorName, Values } from './values.js';

/** Gradients by the name of the input, each in that input's own shape. */
export type Gradients = Partial<Record<TensorName, Float64Array>>;

/** The sizes of a call, leading dimensions flattened. */
export function dimsOf({ tensors: { query, key, value } }: Call): AttentionDims {
  const [Tq, D] = query.shape.slice(-2);
  const [Tk, Dv] = value.shape.slice(-2);
  if (key.shape.at(-2) !== Tk) throw new Error('key and value differ in length');
  return { batch: query.shape[0], heads: sizeOf(query.shape.slice(0, -2)), Tq, Tk, D, Dv };
}

/** Shape of the output, `[..., Tq, Dv]`. */
export function outShape({ tensors: { query, value } }: Call): number[] {
  return [...query.shape.slice(0, -1), value.shape[value.shape.length - 1]];
}

/** `keyBias` as one that broadcasts to `[..., Tk]`: `[B, Tk]` gets its head axis. */
function alignedBias(call: Call, bias: Values): Values {
  const leading = call.tensors.query.shape.length - 2;
  const [batch, Tk] = bias.shape;
  return bias.shape.length < leading + 1 ? { shape: [batch, 1, Tk], data: bias.data } : bias;
}

/** Full shapes of the inputs that may be given smaller. */
function fullShapes(call: Call) {
  const leading = call.tensors.query.shape.slice(0, -2);
  const { Tq, Tk, D } = dimsOf(call);
  const ridge = call.operator === 'mesaAttention' ? [...leading, D] : [...leading, Tq];
  return { ridge, keyBias: [...leading, Tk] };
}

function ridgeOf(call: Call): Values {
  return call.tensors.ridge ?? { shape: [], data: [call.options.ridge ?? 1] };
}

function scoredProblem(call: Call): ScoredProblem {
  const { tensors, options } = call;
  const dims = dimsOf(call);
  const { keyBias } = tensors;
  return {
    dims,
    query: tensors.query.data,
    key: tensors.key.data,
    value: tensors.value.data,
    causal: options.causal ?? false,
    scale: options.scale ?? (call.operator === 'linearAttention' ? 1 : 1 / Math.sqrt(dims.D)),
    ...(tensors.keyMask && { keyMask: tensors.keyMask.data }),
    ...(keyBias && { keyBias: broadcast(alignedBias(call, keyBias), fullShapes(call).keyBias) }),
  };
}

function probeOf({ tensors }: Call): ArrayLike<number> {
  if (!tensors.probe) throw new Error('no probe');
  return tensors.probe.data;
}

/** A call as the LLA reference takes it. */
export function localLinearProblem(call: Call): LocalLinearProblem {
  return { ...scoredProblem(call), ridge: broadcast(ridgeOf(call), fullShapes(call).ridge) };
}

function parallaxProblem(call: Call): ParallaxProblem {
  return { ...scoredProblem(call), probe: probeOf(call) };
}

function linearProblem(call: Call): LinearProblem {
  const { featureMap = 'elu+1', normalize = true } = call.options;
  return { ...scoredProblem(call), featureMap, normalize };
}

function mesaProblem(call: Call): MesaProblem {
  return { ...scoredProblem(call), ridge: broadcast(ridgeOf(call), fullShapes(call).ridge) };
}

/** The float64 output `[..., Tq, Dv]` of a call. */
export function judgeForward(call: Call): Float64Array {
  switch (call.operator) {
    case 'localLinearAttention':
      return localLinear.forward(localLinearProblem(call)).out;
    case 'softmaxAttention':
      return softmax.forward(scoredProblem(call)).out;
    case 'linearAttention':
      return linear.forward(linearProblem(call)).out;
    case 'parallaxAttention':
      return parallax.forward(parallaxProblem(call)).out;
    case 'mesaAttention':
      return mesa.forward(mesaProblem(call)).out;
  }
}

/** The float64 effective weights `[..., Tq, Tk]` of a call. */
export function judgeWeights(call: Call): Float64Array {
  switch (call.operator) {
    case 'localLinearAttention':
      return localLinear.weights(localLinearProblem(call));
    case 'softmaxAttention':
      return softmax.weights(scoredProblem(call));
    case 'linearAttention':
      return linear.weights(linearProblem(call));
    case 'parallaxAttention':
      return parallax.weights(parallaxProblem(call));
    case 'mesaAttention':
      return mesa.weights(mesaProblem(call));
  }
}

type AnyGradient = Gradient & {
  readonly dkeyBias?: Float64Array;
  readonly dridge?: Float64Array;
  readonly dprobe?: Float64Array;
};

function fullGradient(call: Call, dout: Float64Array): AnyGradient {
  switch (call.operator) {
    case 'localLinearAttention':
      return localLinear.gradient(localLinearProblem(call), dout);
    case 'softmaxAttention':
      return softmax.gradient(scoredProblem(call), dout);
    case 'linearAttention':
      return linear.gradient(linearProblem(call), dout);
    case 'parallaxAttention':
      return parallax.gradient(parallaxProblem(call), dout);
    case 'mesaAttention':
      return mesa.gradient(mesaProblem(call), dout);
  }
}

/** Sums a reference's gradient down to the shapes the inputs were given in. */
export function toInputShapes(call: Call, gradient: AnyGradient): Gradients {
  const { keyBias, ridge } = call.tensors;
  const full = fullShapes(call);
  return {
    query: gradient.dquery,
    key: gradient.dkey,
    value: gradient.dvalue,
    ...(gradient.dprobe && { probe: gradient.dprobe }),
    ...(gradient.dkeyBias &&
      keyBias && { keyBias: sumTo(gradient.dkeyBias, full.keyBias, alignedBias(call, keyBias).shape) }),
    ...(gradient.dridge && ridge && { ridge: sumTo(gradient.dridge, full.ridge, ridge.shape) }),
  };
}

/** The float64 gradients of a call for the cotangent `dout [..., Tq, Dv]`. */
export function judgeGradient(call: Call, dout: ArrayLike<number>): Gradients {
  return toInputShapes(call, fullGradient(call, Float64Array.from(dout)));
}
