import {
  type AttentionAttrs,
  type AttentionOptions,
  commonAttrs,
  commonOptions,
  type OperatorSpec,
} from '../common/spec.js';
import { isTensorLike } from '../common/validate.js';

export interface MesaAttentionOptions<TensorLike> extends AttentionOptions<TensorLike> {
  /**
   * Added to the diagonal of the *sum* `K^T K` over visible keys: a positive number, or a tensor (or nested arrays) that
   * broadcasts to `[H, D]` (rank-3 inputs: to `[D]`); differentiable. Default 1.
   */
  ridge?: TensorLike | number;
}

export type MesaAttentionAttrs = AttentionAttrs & {
  /** Ridge of every channel where it is not a tensor, in which case it is the input `ridge` of shape `[heads / B, D]`. */
  ridge: number;
};

export const mesaAttentionSpec: OperatorSpec<MesaAttentionAttrs> = {
  operator: 'mesaAttention',
  kernelName: 'MesaAttention',
  options: { ...commonOptions, ridge: isTensorLike },
  differentiable: ['query', 'key', 'value', 'ridge'],
  residuals: ['probe'],
  attrs(options: MesaAttentionOptions<unknown>): MesaAttentionAttrs {
    return { ...commonAttrs(options), ridge: typeof options.ridge === 'number' ? options.ridge : 1 };
  },
};
