import { type Tensor, type TensorLike, zeros } from '@tensorflow/tfjs-core';

import type { OperatorSpec } from '../../kernels/common/spec.js';
import {
  linearAttentionComposed,
  linearAttentionGradComposed,
  linearAttentionStateComposed,
} from '../../kernels/linear_attention/composed.js';
import { linearAttentionSpec } from '../../kernels/linear_attention/spec.js';
import { localLinearAttentionSpec } from '../../kernels/local_linear_attention/spec.js';
import {
  mesaAttentionComposed,
  mesaAttentionGradComposed,
  mesaAttentionStateComposed,
} from '../../kernels/mesa_attention/composed.js';
import { mesaAttentionSpec } from '../../kernels/mesa_attention/spec.js';
import { parallaxAttentionSpec } from '../../kernels/parallax_attention/spec.js';
import { softmaxAttentionSpec } from '../../kernels/softmax_attention/spec.js';
import type { LinearAttentionOptions } from '../ops/linear_attention.js';
import type { LocalLinearAttentionOptions } from '../ops/local_linear_attention.js';
import type { MesaAttentionOptions } from '../ops/mesa_attention.js';
import type { ParallaxAttentionOptions } from '../ops/parallax_attention.js';
import type { SoftmaxAttentionOptions } from '../ops/softmax_attention.js';
import { keyValueState } from './key_value_state.js';
import type { StateKind } from './state.js';
import { summedState } from './summed_state.js';

/** What belongs to the new tokens of a step, besides query, key and value. */
export interface CacheStepOptions {
  /** Parallax: `[..., t, D]`, required there. */
  probe?: Tensor | TensorLike;
  /**
   * Local linear attention: broadcasts to `[..., t]`; mesa: to `[H, D]` (rank 3: to `[D]`). Default: the cache's own.
   * Differentiable where it is a tensor.
   */
  ridge?: Tensor | TensorLike | number;
  /** Bool `[B, t]`: `false` hides a new key, from this step's rows and all later ones. Default: every key is visible. */
  keyMask?: Tensor | TensorLike;
  /**
   * Softmax, LLA, Parallax: `[B, t]` or `[..., t]`, added to the scores of the new keys, in this step and all later ones;
   * differentiable in this one. Default: none.
   */
  keyBias?: Tensor | TensorLike;
}

/** Options of any cache. */
export interface CacheOptions {
  /**
   * Tokens that room is reserved for. Default 1024; `window` takes its place where it is given, and what linear and mesa
   * attention keep is the same size at any length.
   */
  capacity?: number;
  /** Whether a full cache doubles its capacity (default) or refuses a step. */
  grow?: boolean;
  /** Softmax, LLA, Parallax: each row sees the last `window` tokens, its own among them, and no more are kept. */
  window?: number;
}

/** An operator's options that stay the same from step to step. */
export type ConstantOptions<Options> = Omit<Options, 'causal' | 'keyMask' | 'keyBias'>;

/** Options of `attentionCache` for each operator: its own that stay constant, and those of the cache. */
export interface AttentionCacheOptions {
  localLinear: ConstantOptions<LocalLinearAttentionOptions> & CacheOptions;
  softmax: ConstantOptions<SoftmaxAttentionOptions> & CacheOptions;
  linear: ConstantOptions<LinearAttentionOptions> & Omit<CacheOptions, 'window'>;
  parallax: ConstantOptions<ParallaxAttentionOptions> & CacheOptions;
  mesa: ConstantOptions<MesaAttentionOptions> & Omit<CacheOptions, 'window'>;
}

/** An operator as its caches see it. */
export interface CachedOperator {
  readonly spec: OperatorSpec;
  readonly kind: StateKind;
}

const linearState = /* @__PURE__ */ summedState(
  ({ heads, D, Dv }) => ({ keySum: zeros([heads, D]), keyValueSum: zeros([heads, D, Dv]) }),
  { forward: linearAttentionComposed, gradient: linearAttentionGradComposed, state: linearAttentionStateComposed },
);

const mesaState = /* @__PURE__ */ summedState(
  ({ heads, D, Dv }) => ({ keyKeySum: zeros([heads, D, D]), keyValueSum: zeros([heads, D, Dv]) }),
  { forward: mesaAttentionComposed, gradient: mesaAttentionGradComposed, state: mesaAttentionStateComposed },
);

export const cachedOperators: Readonly<Record<keyof AttentionCacheOptions, CachedOperator>> = {
  localLinear: { spec: localLinearAttentionSpec, kind: keyValueState },
  softmax: { spec: softmaxAttentionSpec, kind: keyValueState },
  linear: { spec: linearAttentionSpec, kind: linearState },
  parallax: { spec: parallaxAttentionSpec, kind: keyValueState },
  mesa: { spec: mesaAttentionSpec, kind: mesaState },
};
