import {
  type AttentionAttrs,
  type AttentionOptions,
  commonAttrs,
  commonOptions,
  type OperatorSpec,
} from '../common/spec.js';
import { isBoolean, isFiniteNumber, isOneOf } from '../common/validate.js';

/** `phi` of linear attention, applied to every element of query and key. */
export type FeatureMap = 'elu+1' | 'relu' | 'identity';

export interface LinearAttentionOptions<TensorLike> extends AttentionOptions<TensorLike> {
  /** Multiplies the weights; cancels where they are normalised. Default 1. */
  scale?: number;
  /** Applied to query and key. Default `'elu+1'`. */
  featureMap?: FeatureMap;
  /** Whether a row's weights are divided by their sum. Default `true`. */
  normalize?: boolean;
}

export type LinearAttentionAttrs = AttentionAttrs & {
  scale: number;
  featureMap: FeatureMap;
  normalize: boolean;
};

export const linearAttentionSpec: OperatorSpec<LinearAttentionAttrs> = {
  operator: 'linearAttention',
  kernelName: 'LinearAttention',
  options: {
    ...commonOptions,
    scale: isFiniteNumber,
    featureMap: isOneOf('elu+1', 'relu', 'identity'),
    normalize: isBoolean,
  },
  differentiable: ['query', 'key', 'value'],
  residuals: [],
  attrs(options: LinearAttentionOptions<unknown>): LinearAttentionAttrs {
    return {
      ...commonAttrs(options),
      scale: options.scale ?? 1,
      featureMap: options.featureMap ?? 'elu+1',
      normalize: options.normalize ?? true,
    };
  },
};
