import { reshape, softplus, type Tensor } from '@tensorflow/tfjs-core';
import { initializers, type LayerVariable } from '@tensorflow/tfjs-layers';

import type { RidgeArgs } from './arguments.js';

/**
 * The ridge of a layer: a number, or one per head that is trained.
 *
 * The weight `ridge [H]` holds `log(exp(ridge) - 1)`, so that `softplus` of whatever an optimizer makes of it is positive.
 */
export class Ridge {
  private readonly initial: number;
  private readonly trainable: boolean;
  private weight: LayerVariable | undefined;

  constructor({ ridge = 1, trainableRidge = false }: RidgeArgs) {
    this.initial = ridge;
    this.trainable = trainableRidge;
  }

  /** Adds the weight where the ridge is trained; `addWeight` is the layer's. */
  build(addWeight: (name: string, initializer: ReturnType<typeof initializers.constant>) => LayerVariable): void {
    if (!this.trainable) return;
    const value = this.initial + Math.log(-Math.expm1(-this.initial));
    this.weight = addWeight('ridge', initializers.constant({ value }));
  }

  /** What the operators take: a number or `[H, 1]`, which broadcasts to every row and every channel. */
  read(): number | Tensor {
    if (this.weight === undefined) return this.initial;
    const raw = this.weight.read();
    return reshape(softplus(raw), [raw.size, 1]);
  }

  get config(): Required<RidgeArgs> {
    return { ridge: this.initial, trainableRidge: this.trainable };
  }
}
