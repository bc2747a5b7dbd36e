import type { NamedTensorMap, Tensor } from '@tensorflow/tfjs-core';

import type { AttentionDims } from '../../kernels/common/dims.js';
import type { AttentionAttrs, OperatorSpec } from '../../kernels/common/spec.js';

/** The sizes of what a cache holds; those of a call without its numbers of tokens. */
export interface CacheShape {
  /** Leading dimensions of every step's tensors. */
  readonly lead: readonly number[];
  readonly heads: number;
  readonly D: number;
  readonly Dv: number;
}

/** Which tokens a cache holds: those at positions `total - length .. total - 1`, each in row `position % capacity`. */
export interface CachePlace {
  readonly length: number;
  /** Position of the next token. */
  readonly total: number;
  /** Tokens that a row sees, its own among them; 0 where there is no bound. */
  readonly window: number;
}

/** A cache's tensors, by the names under which step kernels take them. */
export type StateTensors = Readonly<Record<string, Tensor>>;

/** One checked step. */
export interface StepCall {
  readonly spec: OperatorSpec;
  /** `Tq = Tk = t`, the step's number of tokens. */
  readonly dims: AttentionDims;
  /** What the operator would be given for the new tokens alone. */
  readonly inputs: NamedTensorMap;
  readonly attrs: AttentionAttrs;
  readonly shape: CacheShape;
  readonly place: CachePlace;
  readonly state: StateTensors;
}

/** How a family of operators keeps what its rows have seen. */
export interface StateKind {
  /** Whether the state is the same size at any length, so that single tokens cannot be taken out of it again. */
  readonly isConstantSize: boolean;
  /** Tensors that hold nothing, with room for `capacity` tokens. */
  create(shape: CacheShape, capacity: number): StateTensors;
  /** Tensors that the step needs besides those that are there. */
  complete(state: StateTensors, inputs: NamedTensorMap, shape: CacheShape, capacity: number): StateTensors;
  /** What the gradient of a step needs of the state, as a copy: later steps write over it. */
  context(call: StepCall): NamedTensorMap;
  /**
   * The rows of a step of many tokens by the operator's own kernel, which is made for many; undefined where that is not to
   * be had, or would cost more than the step's kernel.
   */
  rowsOfMany(call: StepCall): Tensor | undefined;
  /** The step made of tfjs operators, for a backend without a kernel for it: its result and the tensors that follow. */
  composedStep(call: StepCall): { out: Tensor; state: StateTensors };
  /** Gradients of the step's inputs by name, for the cotangent `dout`. */
  gradient(call: StepCall, context: NamedTensorMap, dout: Tensor): Partial<Record<string, Tensor>>;
}
