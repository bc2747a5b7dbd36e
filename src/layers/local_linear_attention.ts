import type { serialization, Tensor } from '@tensorflow/tfjs-core';

import { isOneOf, isPositiveInteger, isPositiveNumber } from '../../kernels/common/validate.js';
import type { Solver } from '../../kernels/local_linear_attention/spec.js';
import type { AttentionCache } from '../caches/attention_cache.js';
import { attentionCache } from '../caches/index.js';
import { attentionWeights } from '../ops/attention_weights.js';
import { localLinearAttention } from '../ops/local_linear_attention.js';
import { type ArgumentChecks, type AttentionArgs, type RidgeArgs, ridgeArguments } from './arguments.js';
import { type AttendOptions, type CacheRoom, type Heads, MultiHeadAttention } from './multi_head_attention.js';
import { Ridge } from './ridge.js';

export interface LocalLinearAttentionArgs extends AttentionArgs, RidgeArgs {
  /** Relative residual at which a row's conjugate gradient stops. Default 1e-6. */
  tolerance?: number;
  /** Upper bound on the iterations of a row's conjugate gradient. Default `2 * keyDim`. */
  maxIterations?: number;
  /** How a row's system is solved. Default `'auto'`. */
  solver?: Solver;
}

export const localLinearArguments: ArgumentChecks = {
  ...ridgeArguments,
  tolerance: isPositiveNumber,
  maxIterations: isPositiveInteger,
  solver: isOneOf('auto', 'conjugateGradient', 'direct'),
};

/** Multi-head local linear attention; `layers.localLinearAttention` makes one. */
export class LocalLinearAttention extends MultiHeadAttention<LocalLinearAttentionArgs> {
  static readonly className: string = 'LocalLinearAttentionLayer';

  private readonly ridge: Ridge;

  constructor(args: LocalLinearAttentionArgs) {
    super('localLinearAttention', args, localLinearArguments);
    this.ridge = new Ridge(this.args);
  }

  protected override buildOperator(): void {
    this.ridge.build((name, initializer) => this.addWeight(name, [this.args.numHeads], 'float32', initializer));
  }

  protected override attend({ query, key, value }: Heads, options: AttendOptions): Tensor {
    const { tolerance, maxIterations, solver } = this.args;
    const ridge = this.ridge.read();
    return localLinearAttention(query, key, value, { ...options, ridge, tolerance, maxIterations, solver });
  }

  protected override weigh({ query, key }: Omit<Heads, 'value'>, options: AttendOptions): Tensor {
    const { tolerance, maxIterations, solver } = this.args;
    const ridge = this.ridge.read();
    return attentionWeights('localLinear', query, key, { ...options, ridge, tolerance, maxIterations, solver });
  }

  protected override operatorCache(room: CacheRoom): AttentionCache {
    const { tolerance, maxIterations, solver } = this.args;
    return attentionCache('localLinear', { ...room, tolerance, maxIterations, solver });
  }

  protected override stepInputs(): { ridge: number | Tensor } {
    return { ridge: this.ridge.read() };
  }

  override getConfig(): serialization.ConfigDict {
    const { tolerance = 1e-6, maxIterations = null, solver = 'auto' } = this.args;
    return { ...super.getConfig(), ...this.ridge.config, tolerance, maxIterations, solver };
  }
}
