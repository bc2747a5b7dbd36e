import type { Tensor } from '@tensorflow/tfjs-core';
import { checkOptions, type OptionCheck, printed, reject } from '../../kernels/common/validate.js';

/** Options of `layer.attentionWeights`. */
export interface WeightOptions {
  /** Only the weights of so many last tokens. Default: of all. */
  rows?: number;
}

/** A layer that shows what it attends to. */
export interface WeighedLayer {
  attentionWeights(x: Tensor, options?: WeightOptions): Tensor;
}

/** The number of rows that are asked for, of `T`; throws where it is not usable. */
export function checkRows(layer: string, options: WeightOptions, T: number): number {
  const isCount: OptionCheck = (name, option, value) => {
    if (Number.isInteger(value) && Number(value) >= 1 && Number(value) <= T) return;
    reject(name, option, `must be an integer from 1 to the number of tokens, ${T}, got ${printed(value)}`);
  };
  checkOptions(layer, options, { rows: isCount });
  return options.rows ?? T;
}
