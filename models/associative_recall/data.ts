/**
 * Multi-query associative recall (Zoology, arXiv 2312.04927): a list of pairs of a key and a value, then the keys again
 * in another order, at each of which the value of its pair is asked for.
 */
import type { Random } from '../trainer/random.js';

export interface RecallSizes {
  readonly batch: number;
  /** Pairs in a sequence; it has three tokens for each: key and value, and later the key again. */
  readonly pairs: number;
  /** Different tokens: the first half are keys, the other values. */
  readonly vocabulary: number;
}

export interface RecallBatch {
  /** `[batch, 3 pairs]`. */
  readonly tokens: Int32Array;
  /** `[batch, pairs]`: the value that belongs to each of the last `pairs` tokens. */
  readonly answers: Int32Array;
}

/** Keys of a sequence are all different; values may repeat. */
export function recallBatch(random: Random, { batch, pairs, vocabulary }: RecallSizes): RecallBatch {
  const half = vocabulary / 2;
  const tokens = new Int32Array(batch * 3 * pairs);
  const answers = new Int32Array(batch * pairs);
  for (let row = 0; row < batch; row++) {
    const keys = differentIntegers(random, pairs, half);
    const values = keys.map(() => half + random.integer(half));
    const order = random.shuffle(keys.map((_, i) => i));
    const start = row * 3 * pairs;
    for (let i = 0; i < pairs; i++) {
      tokens[start + 2 * i] = keys[i];
      tokens[start + 2 * i + 1] = values[i];
      tokens[start + 2 * pairs + i] = keys[order[i]];
      answers[row * pairs + i] = values[order[i]];
    }
  }
  return { tokens, answers };
}

function differentIntegers(random: Random, count: number, below: number): number[] {
  const found = new Set<number>();
  while (found.size < count) found.add(random.integer(below));
  return [...found];
}
