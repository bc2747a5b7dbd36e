import type { AttentionDims } from '../common/dims.js';
import type { OperatorSpec } from '../common/spec.js';
import { isOneOf, isPositiveInteger, isPositiveNumber, isTensorLike } from '../common/validate.js';
import {
  softmaxAttrs,
  type SoftmaxAttentionAttrs,
  type SoftmaxAttentionOptions,
  softmaxOptions,
} from '../softmax_attention/spec.js';

/** How a row's `D x D` system is solved. */
export type Solver = 'auto' | 'conjugateGradient' | 'direct';

export interface LocalLinearAttentionOptions<TensorLike> extends SoftmaxAttentionOptions<TensorLike> {
  /**
   * Ridge of the local regression, relative to a mean over keys: a positive number, or a tensor (or nested arrays) that
   * broadcasts to `[..., Tq]`; differentiable. Default 1.
   */
  ridge?: TensorLike | number;
  /** Relative residual at which a row's conjugate gradient stops. Default 1e-6. */
  tolerance?: number;
  /** Upper bound on the iterations of a row's conjugate gradient. Default `2 * D`. */
  maxIterations?: number;
  /**
   * `'conjugateGradient'` keeps what it has after `maxIterations`; `'direct'` forms and factors the `D x D` system;
   * `'auto'` takes the cheaper of both and never returns a row that missed its tolerance. Default `'auto'`.
   */
  solver?: Solver;
}

/**
 * Under `solver: 'auto'` a row whose ridge is below this times the mean variance of its keys is solved directly: the
 * bound below which a small residual no longer means a small error in float32 (operator README, numerics).
 */
export const SMALL_RIDGE = 0.01;

export type SolverAttrs = {
  tolerance: number;
  maxIterations: number;
  solver: Solver;
};

export type LocalLinearAttentionAttrs = SoftmaxAttentionAttrs &
  SolverAttrs & {
    /** Ridge of every row where it is not a tensor, in which case it is the input `ridge` of shape `[..., Tq]`. */
    ridge: number;
  };

export const localLinearAttentionSpec: OperatorSpec<LocalLinearAttentionAttrs> = {
  operator: 'localLinearAttention',
  kernelName: 'LocalLinearAttention',
  options: {
    ...softmaxOptions,
    ridge: isTensorLike,
    tolerance: isPositiveNumber,
    maxIterations: isPositiveInteger,
    solver: isOneOf('auto', 'conjugateGradient', 'direct'),
  },
  differentiable: ['query', 'key', 'value', 'ridge', 'keyBias'],
  residuals: ['probe'],
  attrs(options: LocalLinearAttentionOptions<unknown>, dims: AttentionDims): LocalLinearAttentionAttrs {
    return {
      ...softmaxAttrs(options, dims),
      ridge: typeof options.ridge === 'number' ? options.ridge : 1,
      tolerance: options.tolerance ?? 1e-6,
      maxIterations: options.maxIterations ?? 2 * dims.D,
      solver: options.solver ?? 'auto',
    };
  },
};
