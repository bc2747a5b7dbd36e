import {
  getBackend,
  backend as activeBackend,
  type NamedTensorMap,
  type Tensor,
  type TensorLike,
} from '@tensorflow/tfjs-core';

import type { AttentionDims } from '../../kernels/common/dims.js';
import type { AttentionAttrs, OperatorSpec } from '../../kernels/common/spec.js';
import {
  attentionDims,
  checkKeyBias,
  checkKeyMask,
  checkOptions,
  checkRidge,
  checkRidgeValues,
} from '../../kernels/common/validate.js';
import { runDifferentiable } from '../gradients.js';
import { ensureKernels } from './fallback.js';
import { spread } from './spread.js';
import { toTensor } from './tensors.js';

/** The tensors that an operator takes by position. */
export interface AttentionArguments {
  query: Tensor | TensorLike;
  key: Tensor | TensorLike;
  value: Tensor | TensorLike;
  probe?: Tensor | TensorLike;
}

/** Options of any operator that hold tensors. */
interface TensorOptions {
  keyMask?: Tensor | TensorLike;
  keyBias?: Tensor | TensorLike;
  ridge?: Tensor | TensorLike;
}

/** A checked call: what a kernel is given. */
export interface PreparedCall {
  dims: AttentionDims;
  inputs: NamedTensorMap;
  attrs: AttentionAttrs;
}

/** Checks and converts the arguments of an operator; throws, before any kernel runs, where one is unusable. */
export function prepare(spec: OperatorSpec, args: AttentionArguments, options: object): PreparedCall {
  checkOptions(spec.operator, options, spec.options);
  const { keyMask, keyBias, ridge } = options as TensorOptions;
  const inputs: NamedTensorMap = {};
  for (const [name, x] of Object.entries(args)) inputs[name] = toTensor(spec.operator, name, x as Tensor | TensorLike);
  const { query, key, value, probe } = inputs as { query: Tensor; key: Tensor; value: Tensor; probe?: Tensor };
  const dims = attentionDims(spec.operator, {
    query: query.shape,
    key: key.shape,
    value: value.shape,
    ...(probe && { probe: probe.shape }),
  });
  const lead = query.shape.slice(0, -2);
  if (keyMask !== undefined) {
    inputs.keyMask = toTensor(spec.operator, 'keyMask', keyMask, 'bool');
    checkKeyMask(spec.operator, inputs.keyMask.shape, dims);
  }
  if (keyBias !== undefined) {
    const bias = toTensor(spec.operator, 'keyBias', keyBias);
    checkKeyBias(spec.operator, bias.shape, lead, dims);
    inputs.keyBias = spreadBias(bias, lead, dims);
  }
  if (typeof ridge === 'number') {
    checkRidgeValues(spec.operator, ridge);
  } else if (ridge !== undefined) {
    if (Array.isArray(ridge) || ArrayBuffer.isView(ridge)) checkRidgeValues(spec.operator, ridge);
    inputs.ridge = spreadRidge(spec, toTensor(spec.operator, 'ridge', ridge), lead, dims);
  }
  return { dims, inputs, attrs: spec.attrs(options, dims) };
}

/** Runs an operator on the current backend, differentiable in every float input. */
export function runOperator(spec: OperatorSpec, args: AttentionArguments, options: object): Tensor {
  const { inputs, attrs } = prepare(spec, args, options);
  ensureKernels(spec, currentBackend());
  return runDifferentiable(spec, inputs, attrs);
}

/** Name of the current backend, which is set up if none is yet. */
export function currentBackend(): string {
  activeBackend();
  return getBackend();
}

/** `[B, Tk]` becomes `[..., Tk]`, so that kernels know one shape only. */
function spreadBias(bias: Tensor, lead: number[], dims: AttentionDims): Tensor {
  const aligned = bias.rank === 2 && lead.length > 1 ? [dims.batch, 1, dims.Tk] : bias.shape;
  return spread(bias, aligned, [...lead, dims.Tk]);
}

/** A ridge in the one shape that kernels know: `[..., Tq]`, for mesa attention `[H, D]` or `[D]`. */
function spreadRidge(spec: OperatorSpec, ridge: Tensor, lead: number[], dims: AttentionDims): Tensor {
  const perRow = spec.operator === 'localLinearAttention';
  const target = perRow ? [...lead, dims.Tq] : [...lead.slice(1), dims.D];
  const name = perRow ? '[..., Tq]' : lead.length > 1 ? '[H, D]' : '[D]';
  checkRidge(spec.operator, ridge.shape, target, name);
  return spread(ridge, ridge.shape, target);
}
