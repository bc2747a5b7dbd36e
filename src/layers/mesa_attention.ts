import type { serialization, Tensor } from '@tensorflow/tfjs-core';

import type { AttentionCache } from '../caches/attention_cache.js';
import { attentionCache } from '../caches/index.js';
import { attentionWeights } from '../ops/attention_weights.js';
import { mesaAttention } from '../ops/mesa_attention.js';
import { type AttentionArgs, type RidgeArgs, ridgeArguments } from './arguments.js';
import { type AttendOptions, type CacheRoom, type Heads, MultiHeadAttention } from './multi_head_attention.js';
import { Ridge } from './ridge.js';

export interface MesaAttentionArgs extends AttentionArgs, RidgeArgs {}

/** Multi-head mesa attention; `layers.mesaAttention` makes one. */
export class MesaAttention extends MultiHeadAttention<MesaAttentionArgs> {
  static readonly className: string = 'MesaAttentionLayer';

  private readonly ridge: Ridge;

  constructor(args: MesaAttentionArgs) {
    super('mesaAttention', args, ridgeArguments);
    this.ridge = new Ridge(this.args);
  }

  protected override buildOperator(): void {
    this.ridge.build((name, initializer) => this.addWeight(name, [this.args.numHeads], 'float32', initializer));
  }

  protected override attend({ query, key, value }: Heads, options: AttendOptions): Tensor {
    return mesaAttention(query, key, value, { ...options, ridge: this.ridge.read() });
  }

  protected override weigh({ query, key }: Omit<Heads, 'value'>, options: AttendOptions): Tensor {
    return attentionWeights('mesa', query, key, { ...options, ridge: this.ridge.read() });
  }

  protected override operatorCache(room: CacheRoom): AttentionCache {
    return attentionCache('mesa', room);
  }

  protected override stepInputs(): { ridge: number | Tensor } {
    return { ridge: this.ridge.read() };
  }

  override getConfig(): serialization.ConfigDict {
    return { ...super.getConfig(), ...this.ridge.config };
  }
}
