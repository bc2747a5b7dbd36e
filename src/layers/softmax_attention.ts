import type { Tensor } from '@tensorflow/tfjs-core';

import type { AttentionCache } from '../caches/attention_cache.js';
import { attentionCache } from '../caches/index.js';
import { attentionWeights } from '../ops/attention_weights.js';
import { softmaxAttention } from '../ops/softmax_attention.js';
import type { AttentionArgs } from './arguments.js';
import { type AttendOptions, type CacheRoom, type Heads, MultiHeadAttention } from './multi_head_attention.js';

/** Arguments of `layers.softmaxAttention`. */
export type SoftmaxAttentionArgs = AttentionArgs;

/** Multi-head softmax attention; `layers.softmaxAttention` makes one. */
export class SoftmaxAttention extends MultiHeadAttention<SoftmaxAttentionArgs> {
  static readonly className: string = 'SoftmaxAttentionLayer';

  constructor(args: SoftmaxAttentionArgs) {
    super('softmaxAttention', args, {});
  }

  protected override attend({ query, key, value }: Heads, options: AttendOptions): Tensor {
    return softmaxAttention(query, key, value, options);
  }

  protected override weigh({ query, key }: Omit<Heads, 'value'>, options: AttendOptions): Tensor {
    return attentionWeights('softmax', query, key, options);
  }

  protected override operatorCache(room: CacheRoom): AttentionCache {
    return attentionCache('softmax', room);
  }
}
