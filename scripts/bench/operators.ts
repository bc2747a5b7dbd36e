import type { NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

import type { AttentionDims } from '../../kernels/common/dims.js';
import type { OperatorSpec } from '../../kernels/common/spec.js';
import { composedKernels } from '../../kernels/composed.js';
import * as linearReference from '../../kernels/linear_attention/reference.js';
import * as localLinearReference from '../../kernels/local_linear_attention/reference.js';
import * as mesaReference from '../../kernels/mesa_attention/reference.js';
import * as parallaxReference from '../../kernels/parallax_attention/reference.js';
import * as softmaxReference from '../../kernels/softmax_attention/reference.js';
import * as lla from '../../src/index.js';
import { operatorSpecs } from '../../src/operators.js';
import { prepare, type PreparedCall } from '../../src/ops/run.js';
import type { BenchCase } from './cases.js';

export const operatorNames = [
  'softmaxAttention',
  'localLinearAttention',
  'parallaxAttention',
  'linearAttention',
  'mesaAttention',
] as const;

export type OperatorName = (typeof operatorNames)[number];

/** A part of a case as the references take it: flat arrays, one number as ridge. */
export interface ReferenceProblem {
  readonly dims: AttentionDims;
  readonly query: ArrayLike<number>;
  readonly key: ArrayLike<number>;
  readonly value: ArrayLike<number>;
  readonly probe: ArrayLike<number>;
  readonly causal: boolean;
  readonly ridge: number;
}

/** Float64 gradients by name. */
export type ReferenceGradient = Readonly<Record<string, Float64Array>>;

export interface BenchOperator {
  /** The public function. */
  readonly run: (inputs: NamedTensorMap, options: object) => Tensor;
  readonly forward: (problem: ReferenceProblem) => Float64Array;
  readonly gradient: (problem: ReferenceProblem, dout: Float64Array) => ReferenceGradient;
}

const scaled = (problem: ReferenceProblem) => ({ ...problem, scale: 1 / Math.sqrt(problem.dims.D) });
const linear = (problem: ReferenceProblem) => ({ ...problem, scale: 1, featureMap: 'elu+1', normalize: true }) as const;
const withRidges = <P extends ReferenceProblem>(problem: P, perHead: number) => ({
  ...problem,
  ridge: new Float64Array(problem.dims.heads * perHead).fill(problem.ridge),
});
const localLinear = (problem: ReferenceProblem) => withRidges(scaled(problem), problem.dims.Tq);
const mesa = (problem: ReferenceProblem) => withRidges(problem, problem.dims.D);

export const benchOperators: Readonly<Record<OperatorName, BenchOperator>> = {
  softmaxAttention: {
    run: ({ query, key, value }, options) => lla.softmaxAttention(query, key, value, options),
    forward: (problem) => softmaxReference.forward(scaled(problem)).out,
    gradient: (problem, dout) => ({ ...softmaxReference.gradient(scaled(problem), dout) }),
  },
  localLinearAttention: {
    run: ({ query, key, value }, options) => lla.localLinearAttention(query, key, value, options),
    forward: (problem) => localLinearReference.forward(localLinear(problem)).out,
    gradient: (problem, dout) => ({ ...localLinearReference.gradient(localLinear(problem), dout) }),
  },
  parallaxAttention: {
    run: ({ query, key, value, probe }, options) => lla.parallaxAttention(query, key, value, probe, options),
    forward: (problem) => parallaxReference.forward(scaled(problem)).out,
    gradient: (problem, dout) => ({ ...parallaxReference.gradient(scaled(problem), dout) }),
  },
  linearAttention: {
    run: ({ query, key, value }, options) => lla.linearAttention(query, key, value, options),
    forward: (problem) => linearReference.forward(linear(problem)).out,
    gradient: (problem, dout) => ({ ...linearReference.gradient(linear(problem), dout) }),
  },
  mesaAttention: {
    run: ({ query, key, value }, options) => lla.mesaAttention(query, key, value, options),
    forward: (problem) => mesaReference.forward(mesa(problem)).out,
    gradient: (problem, dout) => ({ ...mesaReference.gradient(mesa(problem), dout) }),
  },
};

/** The arguments of a case's public function, in the order in which its gradients are asked for. */
export function argumentNames({ operator, hasRidgeTensor }: BenchCase): string[] {
  const names = ['query', 'key', 'value'];
  if (operator === 'parallaxAttention') names.push('probe');
  if (hasRidgeTensor) names.push('ridge');
  return names;
}

/** The options of a case's public function, without a ridge that is a tensor. */
export function optionsOf({ causal, ridge, hasRidgeTensor, tolerance, precision }: BenchCase): object {
  return {
    causal,
    ...(ridge !== undefined && !hasRidgeTensor && { ridge }),
    ...(tolerance !== undefined && { tolerance }),
    ...(precision !== undefined && { precision }),
  };
}

export function specOf(operator: OperatorName): OperatorSpec {
  const spec = operatorSpecs.find((candidate) => candidate.operator === operator);
  if (spec === undefined) throw new Error(`no operator ${operator}`);
  return spec;
}

/** A call of a case as a kernel gets it. */
export function preparedCall(one: BenchCase, inputs: NamedTensorMap, options = optionsOf(one)): PreparedCall {
  const { query, key, value, probe, ridge } = inputs;
  const args = { query, key, value, ...(one.operator === 'parallaxAttention' && { probe }) };
  return prepare(specOf(one.operator), args, { ...options, ...(one.hasRidgeTensor && { ridge }) });
}

/** Iterations of the composed kernel of local linear attention, whatever the residual. */
export const COMPOSED_ITERATIONS = 8;

/** The same operator made of tfjs operators, on the current backend. */
export function runComposed(one: BenchCase, tensors: NamedTensorMap): Tensor {
  const fixed = { solver: 'conjugateGradient', maxIterations: COMPOSED_ITERATIONS, tolerance: 1e-30 };
  const isIterative = one.operator === 'localLinearAttention';
  return tf.tidy(() => {
    const { inputs, attrs } = preparedCall(one, tensors, { ...optionsOf(one), ...(isIterative && fixed) });
    const kernel = composedKernels({ readsBack: !tf.getBackend().startsWith('webg') })[specOf(one.operator).kernelName];
    const outputs = kernel({ inputs, attrs, backend: tf.backend() });
    return (outputs as Tensor[])[0];
  });
}
