import { customGrad, ones, op, reshape, type Tensor, type TensorLike } from '@tensorflow/tfjs-core';

import type { ComposedCall } from '../../kernels/common/composed/problem.js';
import type { OperatorSpec } from '../../kernels/common/spec.js';
import { isOneOf, reject } from '../../kernels/common/validate.js';
import { linearWeights, mesaWeights, probeWeights } from '../../kernels/weights.js';
import { linearAttentionSpec } from '../../kernels/linear_attention/spec.js';
import { localLinearAttentionSpec } from '../../kernels/local_linear_attention/spec.js';
import { mesaAttentionSpec } from '../../kernels/mesa_attention/spec.js';
import { parallaxAttentionSpec } from '../../kernels/parallax_attention/spec.js';
import { softmaxAttentionSpec } from '../../kernels/softmax_attention/spec.js';
import { runKernel } from '../gradients.js';
import { ensureKernels } from './fallback.js';
import type { LinearAttentionOptions } from './linear_attention.js';
import type { LocalLinearAttentionOptions } from './local_linear_attention.js';
import type { MesaAttentionOptions } from './mesa_attention.js';
import type { ParallaxAttentionOptions } from './parallax_attention.js';
import { currentBackend, prepare } from './run.js';
import type { SoftmaxAttentionOptions } from './softmax_attention.js';

/** Options of each operator; Parallax takes its probe among them. */
export interface AttentionWeightsOptions {
  localLinear: LocalLinearAttentionOptions;
  softmax: SoftmaxAttentionOptions;
  linear: LinearAttentionOptions;
  parallax: ParallaxAttentionOptions & { probe: Tensor | TensorLike };
  mesa: MesaAttentionOptions;
}

/** Short names of the operators. */
export type OperatorName = keyof AttentionWeightsOptions;

type MakeWeights = (spec: OperatorSpec, call: ComposedCall) => Tensor;

const operators: Readonly<Record<OperatorName, { spec: OperatorSpec; weights: MakeWeights }>> = {
  localLinear: { spec: localLinearAttentionSpec, weights: probeWeights },
  softmax: { spec: softmaxAttentionSpec, weights: probeWeights },
  linear: { spec: linearAttentionSpec, weights: linearWeights },
  parallax: { spec: parallaxAttentionSpec, weights: probeWeights },
  mesa: { spec: mesaAttentionSpec, weights: mesaWeights },
};

/**
 * The effective weights of an operator, `[..., Tq, Tk]`, such that `weights x value` is its output: for plots and
 * inspection. Takes the memory that the operators themselves avoid; not differentiable.
 *
 * ```js
 * const weights = attentionWeights('localLinear', q, k, { causal: true });
 * ```
 *
 * @param operator `'localLinear'`, `'softmax'`, `'linear'`, `'parallax'` or `'mesa'`.
 * @param query `[..., Tq, D]`
 * @param key `[..., Tk, D]`
 * @param options Those of the operator; for Parallax also `probe [..., Tq, D]`.
 * @returns `[..., Tq, Tk]`, float32; negative weights are possible for all but softmax attention. For local linear
 *   attention `p_ij tau_ij`, whose rows sum to 1.
 * @throws Error that names the argument, before anything runs.
 */
function attentionWeights_<Name extends OperatorName>(
  operator: Name,
  query: Tensor | TensorLike,
  key: Tensor | TensorLike,
  options?: AttentionWeightsOptions[Name],
): Tensor {
  isOneOf(...Object.keys(operators))('attentionWeights', 'operator', operator);
  const { spec, weights } = operators[operator];
  const { probe, ...rest } = (options ?? {}) as { probe?: Tensor | TensorLike };
  const takesProbe = operator === 'parallax';
  if (takesProbe && probe === undefined) reject(spec.operator, 'probe', 'is missing from the options');
  // With the key for a value the arguments are checked as the operator would check them.
  const args = { query, key, value: key, ...(takesProbe && { probe }) };
  const call = prepare(spec, args, takesProbe ? rest : (options ?? {}));
  const { Tq, Tk } = call.dims;
  ensureKernels(spec, currentBackend());
  const compute = customGrad((...tensors) => {
    const lead = (tensors[0] as Tensor).shape.slice(0, -2);
    const inputs = { ...call.inputs, value: ones([...lead, Tk, 1]) };
    // The solution that a kernel finds for its own use, if it has one.
    const residuals = spec.residuals.length > 0 ? runKernel(spec.kernelName, inputs, call.attrs).slice(1) : [];
    const named = Object.fromEntries(residuals.map((residual, i) => [spec.residuals[i], residual]));
    const value = reshape(weights(spec, { inputs: { ...inputs, ...named }, attrs: call.attrs }), [...lead, Tq, Tk]);
    return { value, gradFunc: () => reject('attentionWeights', operator, 'has no gradient; use the operator itself') };
  });
  return compute(call.inputs.query, call.inputs.key);
}

/** @function */
export const attentionWeights = /* @__PURE__ */ op({ attentionWeights_ });
