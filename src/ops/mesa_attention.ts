import { op, type Tensor, type TensorLike } from '@tensorflow/tfjs-core';

import { type MesaAttentionOptions as Options, mesaAttentionSpec } from '../../kernels/mesa_attention/spec.js';
import { runOperator } from './run.js';

/**
 * Options of `mesaAttention`.
 *
 * @interface
 */
export type MesaAttentionOptions = Options<Tensor | TensorLike>;

/**
 * Mesa attention: ridge regression from keys to values on all visible keys, evaluated at the query:
 * `o_i = V^T K (K^T K + diag(ridge))^-1 q_i`, in time linear in the number of tokens.
 *
 * ```js
 * const out = mesaAttention(q, k, v, { causal: true, ridge: 0.5 });
 * ```
 *
 * @param query `[..., Tq, D]`, rank 3 or 4, float32 (`int32` and `bool` are cast).
 * @param key `[..., Tk, D]`, the same leading dimensions.
 * @param value `[..., Tk, Dv]`, the same leading dimensions.
 * @param options `causal`, `keyMask`, `ridge` (1), `precision` ('high'). The ridge is added to a *sum* over keys, local
 *   linear attention's to a *mean*: the same number means a factor `Tk` more there.
 * @returns `[..., Tq, Dv]`, float32; zeros in a row that sees no key. Differentiable in query, key, value, and in
 *   `ridge` where it is a tensor.
 * @throws Error that names the argument, before anything runs, when shapes do not fit or an option is unusable. The
 *   values of a tensor are not read: a bad ridge in a tensor gives NaN in the rows of its own head.
 *
 * Source: MesaNet, arXiv 2506.05233, without decay and gates.
 */
function mesaAttention_(
  query: Tensor | TensorLike,
  key: Tensor | TensorLike,
  value: Tensor | TensorLike,
  options: MesaAttentionOptions = {},
): Tensor {
  return runOperator(mesaAttentionSpec, { query, key, value }, options);
}

/** @function */
export const mesaAttention = /* @__PURE__ */ op({ mesaAttention_ });
