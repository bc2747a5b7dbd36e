import type { serialization, Tensor } from '@tensorflow/tfjs-core';

import type { FeatureMap } from '../../kernels/linear_attention/spec.js';
import { isBoolean, isOneOf } from '../../kernels/common/validate.js';
import type { AttentionCache } from '../caches/attention_cache.js';
import { attentionCache } from '../caches/index.js';
import { attentionWeights } from '../ops/attention_weights.js';
import { linearAttention } from '../ops/linear_attention.js';
import type { ArgumentChecks, AttentionArgs } from './arguments.js';
import { type AttendOptions, type CacheRoom, type Heads, MultiHeadAttention } from './multi_head_attention.js';

export interface LinearAttentionArgs extends AttentionArgs {
  /** Applied to queries and keys. Default `'elu+1'`. */
  featureMap?: FeatureMap;
  /** Whether a row's weights are divided by their sum. Default `true`. */
  normalize?: boolean;
}

export const linearArguments: ArgumentChecks = {
  featureMap: isOneOf('elu+1', 'relu', 'identity'),
  normalize: isBoolean,
};

/** Multi-head linear attention; `layers.linearAttention` makes one. */
export class LinearAttention extends MultiHeadAttention<LinearAttentionArgs> {
  static readonly className: string = 'LinearAttentionLayer';

  constructor(args: LinearAttentionArgs) {
    super('linearAttention', args, linearArguments);
  }

  protected override attend({ query, key, value }: Heads, options: AttendOptions): Tensor {
    const { featureMap, normalize } = this.args;
    return linearAttention(query, key, value, { ...options, featureMap, normalize });
  }

  protected override weigh({ query, key }: Omit<Heads, 'value'>, options: AttendOptions): Tensor {
    const { featureMap, normalize } = this.args;
    return attentionWeights('linear', query, key, { ...options, featureMap, normalize });
  }

  protected override operatorCache(room: CacheRoom): AttentionCache {
    const { featureMap, normalize } = this.args;
    return attentionCache('linear', { ...room, featureMap, normalize });
  }

  override getConfig(): serialization.ConfigDict {
    const { featureMap = 'elu+1', normalize = true } = this.args;
    return { ...super.getConfig(), featureMap, normalize };
  }
}
