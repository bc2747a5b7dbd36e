import { op, type Tensor, type TensorLike } from '@tensorflow/tfjs-core';

import { type LinearAttentionOptions as Options, linearAttentionSpec } from '../../kernels/linear_attention/spec.js';
import { runOperator } from './run.js';

/**
 * Options of `linearAttention`.
 *
 * @interface
 */
export type LinearAttentionOptions = Options<Tensor | TensorLike>;

/**
 * Linear attention: `o_i = sum_j a_ij v_j / sum_j a_ij` with `a_ij = scale phi(q_i).phi(k_j)`, in time linear in the
 * number of tokens; without `normalize` the division is left out.
 *
 * ```js
 * const out = linearAttention(q, k, v, { causal: true, featureMap: 'relu' });
 * ```
 *
 * @param query `[..., Tq, D]`, rank 3 or 4, float32 (`int32` and `bool` are cast).
 * @param key `[..., Tk, D]`, the same leading dimensions.
 * @param value `[..., Tk, Dv]`, the same leading dimensions.
 * @param options `causal`, `scale` (1), `featureMap` ('elu+1'), `normalize` (true), `keyMask`, `precision` ('high').
 * @returns `[..., Tq, Dv]`, float32; zeros in a row whose weights sum to zero. Differentiable in query, key and value.
 * @throws Error that names the argument, before anything runs, when shapes do not fit or an option is unusable.
 *
 * Source: Transformers are RNNs, arXiv 2006.16236, equations 5 to 12.
 */
function linearAttention_(
  query: Tensor | TensorLike,
  key: Tensor | TensorLike,
  value: Tensor | TensorLike,
  options: LinearAttentionOptions = {},
): Tensor {
  return runOperator(linearAttentionSpec, { query, key, value }, options);
}

/** @function */
export const linearAttention = /* @__PURE__ */ op({ linearAttention_ });
