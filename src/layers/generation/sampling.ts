import {
  add,
  any,
  argMax,
  cast,
  cumsum,
  div,
  fill,
  gather,
  isNaN as isNotANumber,
  less,
  max,
  minimum,
  mul,
  range,
  reshape,
  slice,
  softmax,
  sub,
  sum,
  type Tensor,
  tidy,
  topk,
  where,
} from '@tensorflow/tfjs-core';

/** How a token is taken from a model's logits. */
export interface Sampling {
  /** Divides the logits; 0 takes the largest. */
  readonly temperature: number;
  /** Number of largest logits that remain. */
  readonly topK?: number | undefined;
  /** Of those the fewest, from the likeliest on, whose probabilities add up to this remain. */
  readonly topP?: number | undefined;
}

/** What `pickTokens` gives for logits that have no distribution: NaN, infinity, or minus infinity everywhere. */
export const UNUSABLE = -1;

/**
 * One token per row: `logits [B, V]`, `draws [B]` in `(0, 1]`, a uniform number for each row; gives `[B]` int32.
 *
 * Temperature, then `topK`, then `topP`, as Hugging Face's generation does it. The token is the first one up to which
 * the probabilities add up to the row's draw (inverse transform), so a seed gives the same tokens on every backend but
 * for rounding.
 */
export function pickTokens(logits: Tensor, sampling: Sampling, draws: Tensor): Tensor {
  return tidy(() => {
    // The largest one becomes 0, so that no division by a small temperature overflows.
    const relative = sub(logits, max(logits, -1, true));
    const unusable = any(isNotANumber(relative), -1);
    const picked = sampling.temperature === 0 ? argMax(relative, -1) : sample(relative, sampling, draws);
    const ids = cast(picked, 'int32');
    return where(unusable, fill(ids.shape, UNUSABLE, 'int32'), ids);
  });
}

function sample(relative: Tensor, { temperature, topK, topP = 1 }: Sampling, draws: Tensor): Tensor {
  const [B, V] = relative.shape;
  const scaled = div(relative, temperature);
  if (topK === undefined && topP >= 1) return invert(softmax(scaled), draws);
  const kept = Math.min(topK ?? V, V);
  const { values, indices } = topk(scaled, kept, true);
  const probabilities = softmax(values);
  // What is likelier than a token adds up to less than topP; nothing is likelier than the first one.
  const nucleus = cast(less(cumsum(probabilities, 1, true), topP), 'float32');
  const last = sub(sum(nucleus, -1), 1);
  const rank = minimum(invert(mul(probabilities, nucleus), draws), last);
  // Row b of `indices` begins at b * kept.
  const at = add(cast(rank, 'int32'), range(0, B * kept, kept, 'int32'));
  return gather(reshape(indices, [B * kept]), at);
}

/** The first index up to which weights `[B, V]`, whatever their sum, add up to the share `draws [B]` of it. */
function invert(weights: Tensor, draws: Tensor): Tensor {
  const [B, V] = weights.shape;
  const upTo = cumsum(weights, 1);
  const total = slice(upTo, [0, V - 1], [B, 1]);
  // No draw is 0, so a weight of 0 at the start is not taken; none is above 1, so there is always an index.
  const below = less(upTo, mul(total, reshape(draws, [B, 1])));
  return sum(cast(below, 'float32'), -1);
}
