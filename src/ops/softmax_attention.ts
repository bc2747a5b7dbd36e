import { op, type Tensor, type TensorLike } from '@tensorflow/tfjs-core';

import { type SoftmaxAttentionOptions as Options, softmaxAttentionSpec } from '../../kernels/softmax_attention/spec.js';
import { runOperator } from './run.js';

/**
 * Options of `softmaxAttention`.
 *
 * @interface
 */
export type SoftmaxAttentionOptions = Options<Tensor | TensorLike>;

/**
 * Scaled dot-product attention: `o_i = sum_j p_ij v_j` with `p_i = softmax_j(scale q_i.k_j + bias_j)`. In time
 * `O(Tq Tk)`, in memory linear.
 *
 * ```js
 * const out = softmaxAttention(q, k, v, { causal: true, keyMask: [[true, true, false]] });
 * ```
 *
 * @param query `[..., Tq, D]`, rank 3 or 4, float32 (`int32` and `bool` are cast).
 * @param key `[..., Tk, D]`, the same leading dimensions.
 * @param value `[..., Tk, Dv]`, the same leading dimensions.
 * @param options `causal`, `scale` (1 / sqrt(D)), `keyMask`, `keyBias`, `precision` ('high').
 * @returns `[..., Tq, Dv]`, float32; zeros in a row that sees no key. Differentiable in query, key, value and `keyBias`.
 * @throws Error that names the argument, before anything runs, when shapes do not fit or an option is unusable.
 *
 * Source: Attention Is All You Need, arXiv 1706.03762, equation 1.
 */
function softmaxAttention_(
  query: Tensor | TensorLike,
  key: Tensor | TensorLike,
  value: Tensor | TensorLike,
  options: SoftmaxAttentionOptions = {},
): Tensor {
  return runOperator(softmaxAttentionSpec, { query, key, value }, options);
}

/** @function */
export const softmaxAttention = /* @__PURE__ */ op({ softmaxAttention_ });
