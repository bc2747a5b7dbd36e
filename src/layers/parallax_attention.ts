import type { Tensor } from '@tensorflow/tfjs-core';

import { reject } from '../../kernels/common/validate.js';
import type { AttentionCache } from '../caches/attention_cache.js';
import { attentionCache } from '../caches/index.js';
import { attentionWeights } from '../ops/attention_weights.js';
import { parallaxAttention } from '../ops/parallax_attention.js';
import type { AttentionArgs } from './arguments.js';
import type { Features } from './inputs.js';
import { type AttendOptions, type CacheRoom, type Heads, MultiHeadAttention } from './multi_head_attention.js';
import type { Projection } from './projection.js';

/** Arguments of `layers.parallaxAttention`. */
export type ParallaxAttentionArgs = AttentionArgs;

/** Multi-head Parallax attention; `layers.parallaxAttention` makes one. */
export class ParallaxAttention extends MultiHeadAttention<ParallaxAttentionArgs> {
  static readonly className: string = 'ParallaxAttentionLayer';

  private probe: Projection | undefined;

  constructor(args: ParallaxAttentionArgs) {
    super('parallaxAttention', args, {});
  }

  protected override buildOperator(features: Features): void {
    const { numHeads, keyDim } = this.args;
    this.probe = this.addProjection('probe', [features.query], [numHeads, keyDim], false);
  }

  protected override attend({ query, key, value, tokens }: Heads, options: AttendOptions): Tensor {
    return parallaxAttention(query, key, value, this.projectProbe(tokens), options);
  }

  protected override weigh(heads: Omit<Heads, 'value'>, options: AttendOptions, first: number): Tensor {
    const { query, key, tokens } = heads;
    return attentionWeights('parallax', query, key, { ...options, probe: this.projectProbe(tokens, first) });
  }

  protected override operatorCache(room: CacheRoom): AttentionCache {
    return attentionCache('parallax', room);
  }

  protected override stepInputs(tokens: Tensor, first: number | readonly number[]): { probe: Tensor } {
    return { probe: this.projectProbe(tokens, first) };
  }

  /** The paper's `r`. It is multiplied with keys, so it is rotated like what the keys are compared with. */
  protected projectProbe(tokens: Tensor, first: number | readonly number[] = 0): Tensor {
    const { probe } = this;
    if (probe === undefined) reject(this.label, 'inputs', 'reached a layer that has not been built');
    return this.rotate(probe.toHeads(tokens), first);
  }
}
