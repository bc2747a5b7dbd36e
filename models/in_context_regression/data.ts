/** Linear regression in context: pairs of a hidden linear map, which changes from one segment of the context to the next. */
import type { Random } from '../trainer/random.js';

export interface RegressionSizes {
  readonly batch: number;
  /** Pairs in a context. */
  readonly pairs: number;
  /** Numbers of an input, and of an output. */
  readonly dim: number;
  /** Maps in a context; `pairs` is a multiple of it. */
  readonly segments: number;
}

export interface RegressionBatch {
  /** `[batch, pairs, dim]`, of unit norm. */
  readonly inputs: Float32Array;
  /** `[batch, pairs, dim]`: the segment's map of the input, of mean square 1. */
  readonly outputs: Float32Array;
}

/**
 * Each segment has a region of input space (inputs lie around a random direction) and a map of its own, so that what
 * belongs to a query can be told from the query itself.
 *
 * @param spread Deviation of an input from its region's direction, before it is normalised; the direction has norm 1.
 */
export function regressionBatch(random: Random, sizes: RegressionSizes, spread: number): RegressionBatch {
  const { batch, pairs, dim, segments } = sizes;
  const inputs = new Float32Array(batch * pairs * dim);
  const outputs = new Float32Array(batch * pairs * dim);
  const length = pairs / segments;
  for (let first = 0; first < batch * pairs; first += length) {
    const centre = unit(random.normals(dim));
    const map = random.normals(dim * dim);
    for (let row = first; row < first + length; row++) {
      const input = unit(random.normals(dim).map((value, i) => centre[i] + (spread * value) / Math.sqrt(dim)));
      inputs.set(input, row * dim);
      for (let i = 0; i < dim; i++) {
        let sum = 0;
        for (let j = 0; j < dim; j++) sum += map[i * dim + j] * input[j];
        outputs[row * dim + i] = sum;
      }
    }
  }
  return { inputs, outputs };
}

function unit(vector: Float32Array): Float32Array {
  const norm = Math.hypot(...vector);
  return vector.map((value) => value / norm);
}
