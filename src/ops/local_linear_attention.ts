import { op, type Tensor, type TensorLike } from '@tensorflow/tfjs-core';

import {
  type LocalLinearAttentionOptions as Options,
  localLinearAttentionSpec,
} from '../../kernels/local_linear_attention/spec.js';
import { runOperator } from './run.js';

/**
 * Options of `localLinearAttention`.
 *
 * @interface
 */
export type LocalLinearAttentionOptions = Options<Tensor | TensorLike>;

/**
 * Local linear attention: each query fits an affine function to the pairs of keys and values by ridge regression,
 * weighted by softmax scores, and returns its value at the query.
 *
 * `o_i = sum_j p_ij (1 + (k_j - kbar_i).x_i) v_j` with `x_i = (C_i + ridge I)^-1 (q_i - kbar_i)`, where `p_i` are the
 * softmax weights, `kbar_i` and `C_i` the mean and covariance of the keys under them.
 *
 * ```js
 * const [q, k, v] = [0, 1, 2].map(() => tf.randomNormal([2, 4, 128, 32]));  // [B, H, T, D]
 * const out = localLinearAttention(q, k, v, { causal: true, ridge: 0.1 });   // [2, 4, 128, 32]
 * ```
 *
 * @param query `[..., Tq, D]`, rank 3 or 4, float32 (`int32` and `bool` are cast).
 * @param key `[..., Tk, D]`, the same leading dimensions.
 * @param value `[..., Tk, Dv]`, the same leading dimensions.
 * @param options `causal`, `scale` (1 / sqrt(D)), `keyMask`, `keyBias`, `ridge` (1), `tolerance` (1e-6),
 *   `maxIterations` (2 D), `solver` ('auto'), `precision` ('high').
 * @returns `[..., Tq, Dv]`, float32; zeros in a row that sees no key. Differentiable in query, key, value, and in
 *   `ridge` and `keyBias` where they are tensors.
 * @throws Error that names the argument, before anything runs, when shapes do not fit or an option is unusable. The
 *   values of a tensor are not read: a bad ridge in a tensor gives NaN in its own rows.
 *
 * Source: Local Linear Attention, arXiv 2510.01450; the covariance form of it (see the operator's README).
 */
function localLinearAttention_(
  query: Tensor | TensorLike,
  key: Tensor | TensorLike,
  value: Tensor | TensorLike,
  options: LocalLinearAttentionOptions = {},
): Tensor {
  return runOperator(localLinearAttentionSpec, { query, key, value }, options);
}

/** @function */
export const localLinearAttention = /* @__PURE__ */ op({ localLinearAttention_ });
