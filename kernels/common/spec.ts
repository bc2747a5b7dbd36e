import type { AttentionDims } from './dims.js';
import { isBoolean, isOneOf, isTensorLike, type OptionCheck } from './validate.js';

/** What the rest of the package needs to know of an operator. Each operator has one, in its `spec.ts`. */
export interface OperatorSpec<Attrs extends AttentionAttrs = AttentionAttrs> {
  /** Name of the public function, used in errors. */
  readonly operator: string;
  /** Name of the forward kernel in tfjs's registry; the gradient's is the same with `Grad` appended. */
  readonly kernelName: string;
  /** Every option of the operator, with the check of its value. */
  readonly options: Readonly<Record<string, OptionCheck>>;
  /** Float inputs that have a gradient, in the order in which the gradient kernel returns those that were given. */
  readonly differentiable: readonly string[];
  /**
   * Names of the forward kernel's outputs after the first, which is always the result. A gradient kernel is given
   * them under these names. Each has a row per query: `[heads, Tq, ...]`.
   */
  readonly residuals: readonly string[];
  /** Options that are no tensors, with their defaults filled in. */
  attrs(options: object, dims: AttentionDims): Attrs;
}

/**
 * Attributes that every kernel gets. Attributes are types, not interfaces: only types have the implicit index signature
 * that tfjs's attribute map asks for.
 */
export type AttentionAttrs = {
  /** Row `i` sees keys `j <= Tk - Tq + i` only. */
  causal: boolean;
  /** Whether a backend may use half-precision operands. */
  precision: Precision;
};

/** What an operator computes with: float32 throughout, or half-precision operands where that pays. */
export type Precision = 'high' | 'fast';

/** Options that every operator has. */
export interface AttentionOptions<TensorLike> {
  /** Row `i` sees keys `j <= Tk - Tq + i` only: aligned to the end. Default `false`. */
  causal?: boolean;
  /** Bool `[B, Tk]`, `B` the first dimension: `false` hides a key. Default: every key is visible. */
  keyMask?: TensorLike;
  /**
   * `'fast'` lets a backend use half-precision operands with float32 accumulation where the device has units for it.
   * No effect where there is nothing to gain. Default `'high'`.
   */
  precision?: Precision;
}

export const commonOptions: Readonly<Record<string, OptionCheck>> = {
  causal: isBoolean,
  keyMask: isTensorLike,
  precision: isOneOf('high', 'fast'),
};

/** The attributes of `commonOptions`, defaults filled in. */
export function commonAttrs(options: { causal?: boolean; precision?: Precision }): AttentionAttrs {
  return { causal: options.causal ?? false, precision: options.precision ?? 'high' };
}
