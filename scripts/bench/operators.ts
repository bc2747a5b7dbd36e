import type { NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

import { composedKernels } from '../../kernels/composed.js';
import type { AttentionDims } from '../../kernels/common/dims.js';
import * as linearReference from '../../kernels/linear_attention/reference.js';
import * as localLinearReference from '../../kernels/local_linear_attention/reference.js';
import * as mesaReference from '../../kernels/mesa_attention/reference.js';
import * as parallaxReference from '../../kernels/parallax_attention/reference.js';
import * as softmaxReference from '../../kernels/softmax_attention/reference.js';
import * as lla from '../../src/index.js';
import { prepare } from '../../src/ops/run.js';
import { operatorSpecs } from '../../src/operators.js';

/** An operator as the benchmark runs it: causal, one ridge. */
export interface BenchOperator {
  readonly name: string;
  /** The options that the public function gets. */
  readonly options: object;
  /** Whether the same made of tfjs operators is timed beside it: its eliminations take minutes on `cpu` for mesa. */
  readonly isCompared: boolean;
  /** The options of the composed kernel that it is compared with, where they differ. */
  readonly composedOptions?: object;
  readonly run: (inputs: NamedTensorMap, options: object) => Tensor;
  /** The float64 result. */
  readonly reference: (inputs: ReferenceInputs) => Float64Array;
}

export interface ReferenceInputs {
  readonly dims: AttentionDims;
  readonly query: ArrayLike<number>;
  readonly key: ArrayLike<number>;
  readonly value: ArrayLike<number>;
  readonly probe: ArrayLike<number>;
}

const causal = true;

/** Every operator; `tolerance` is that of the LLA kernel, the composed one makes 8 iterations. */
export function benchOperators(D: number, tolerance: number, ridge: number): BenchOperator[] {
  const scale = 1 / Math.sqrt(D);
  const fixed = { causal, ridge, solver: 'conjugateGradient', maxIterations: 8, tolerance: 1e-30 };
  return [
    {
      name: 'localLinearAttention',
      options: { causal, ridge, tolerance },
      isCompared: true,
      composedOptions: fixed,
      run: ({ query, key, value }, options) => lla.localLinearAttention(query, key, value, options),
      reference: (inputs) => {
        const rows = new Float64Array(inputs.dims.heads * inputs.dims.Tq).fill(ridge);
        return localLinearReference.forward({ ...inputs, causal, scale, ridge: rows }).out;
      },
    },
    {
      name: 'softmaxAttention',
      options: { causal },
      isCompared: true,
      run: ({ query, key, value }, options) => lla.softmaxAttention(query, key, value, options),
      reference: (inputs) => softmaxReference.forward({ ...inputs, causal, scale }).out,
    },
    {
      name: 'parallaxAttention',
      options: { causal },
      isCompared: true,
      run: ({ query, key, value, probe }, options) => lla.parallaxAttention(query, key, value, probe, options),
      reference: (inputs) => parallaxReference.forward({ ...inputs, causal, scale }).out,
    },
    {
      name: 'linearAttention',
      options: { causal },
      isCompared: true,
      run: ({ query, key, value }, options) => lla.linearAttention(query, key, value, options),
      reference: (inputs) =>
        linearReference.forward({ ...inputs, causal, scale: 1, featureMap: 'elu+1', normalize: true }).out,
    },
    {
      name: 'mesaAttention',
      options: { causal, ridge },
      isCompared: false,
      run: ({ query, key, value }, options) => lla.mesaAttention(query, key, value, options),
      reference: (inputs) => {
        const ridges = new Float64Array(inputs.dims.heads * D).fill(ridge);
        return mesaReference.forward({ ...inputs, causal, ridge: ridges }).out;
      },
    },
  ];
}

/** The same operator made of tfjs operators, on the current backend. */
export function runComposed(operator: BenchOperator, tensors: NamedTensorMap): Tensor {
  const spec = operatorSpecs.find((candidate) => candidate.operator === operator.name);
  if (spec === undefined) throw new Error(`no operator ${operator.name}`);
  const { query, key, value, probe } = tensors;
  const isParallax = operator.name === 'parallaxAttention';
  return tf.tidy(() => {
    const args = { query, key, value, ...(isParallax && { probe }) };
    const { inputs, attrs } = prepare(spec, args, operator.composedOptions ?? operator.options);
    const kernel = composedKernels({ readsBack: true })[spec.kernelName];
    const outputs = kernel({ inputs, attrs, backend: tf.backend() });
    return (outputs as Tensor[])[0];
  });
}
