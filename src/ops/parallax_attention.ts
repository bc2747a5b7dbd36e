import { op, type Tensor, type TensorLike } from '@tensorflow/tfjs-core';

import {
  type ParallaxAttentionOptions as Options,
  parallaxAttentionSpec,
} from '../../kernels/parallax_attention/spec.js';
import { runOperator } from './run.js';

/**
 * Options of `parallaxAttention`.
 *
 * @interface
 */
export type ParallaxAttentionOptions = Options<Tensor | TensorLike>;

/**
 * Parallax attention: local linear attention whose probe is not solved for but given, `x_i = -r_i`:
 * `o_i = sum_j p_ij (1 - (k_j - kbar_i).r_i) v_j` with softmax weights `p_i`.
 *
 * ```js
 * const r = tf.randomNormal(q.shape).mul(0.1);   // in a model: a learned projection
 * const out = parallaxAttention(q, k, v, r, { causal: true });
 * ```
 *
 * @param query `[..., Tq, D]`, rank 3 or 4, float32 (`int32` and `bool` are cast).
 * @param key `[..., Tk, D]`, the same leading dimensions.
 * @param value `[..., Tk, Dv]`, the same leading dimensions.
 * @param probe `[..., Tq, D]`: the paper's `r`.
 * @param options `causal`, `scale` (1 / sqrt(D)), `keyMask`, `keyBias`, `precision` ('high').
 * @returns `[..., Tq, Dv]`, float32; zeros in a row that sees no key. Differentiable in query, key, value, probe and
 *   `keyBias`.
 * @throws Error that names the argument, before anything runs, when shapes do not fit or an option is unusable.
 *
 * Source: Parallax, arXiv 2605.29157.
 */
function parallaxAttention_(
  query: Tensor | TensorLike,
  key: Tensor | TensorLike,
  value: Tensor | TensorLike,
  probe: Tensor | TensorLike,
  options: ParallaxAttentionOptions = {},
): Tensor {
  return runOperator(parallaxAttentionSpec, { query, key, value, probe }, options);
}

/** @function */
export const parallaxAttention = /* @__PURE__ */ op({ parallaxAttention_ });
