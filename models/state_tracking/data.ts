/** Words of permutations: after each letter, which permutation have the letters so far composed? */
import type { Random } from '../trainer/random.js';

export interface TrackingSizes {
  readonly batch: number;
  /** Letters in a word. */
  readonly length: number;
  /** Elements that are permuted; the group has `elements!` permutations, each a letter and a state. */
  readonly elements: number;
}

export interface TrackingBatch {
  /** `[batch, length]`, numbers of permutations. */
  readonly letters: Int32Array;
  /** `[batch, length]`: the number of the composition of the letters up to this one. */
  readonly states: Int32Array;
}

/** All permutations of `0 .. elements - 1` in lexicographic order; the first one changes nothing. */
export function permutations(elements: number): number[][] {
  if (elements === 0) return [[]];
  const shorter = permutations(elements - 1);
  return Array.from({ length: elements }, (_, first) =>
    shorter.map((rest) => [first, ...rest.map((value) => value + Number(value >= first))]),
  ).flat();
}

/** `table[a * n + b]` is the number of the permutation that applies `a` and then `b`. */
export function composition(elements: number): Int32Array {
  const all = permutations(elements);
  const numbers = new Map(all.map((permutation, index) => [permutation.join(), index]));
  return Int32Array.from(all.flatMap((a) => all.map((b) => numbers.get(a.map((value) => b[value]).join()) ?? -1)));
}

/** @param table `composition(elements)`. */
export function trackingBatch(random: Random, { batch, length }: TrackingSizes, table: Int32Array): TrackingBatch {
  const size = Math.sqrt(table.length);
  const letters = new Int32Array(batch * length);
  const states = new Int32Array(batch * length);
  for (let row = 0; row < batch; row++) {
    let state = 0;
    for (let i = row * length; i < (row + 1) * length; i++) {
      letters[i] = random.integer(size);
      state = table[state * size + letters[i]];
      states[i] = state;
    }
  }
  return { letters, states };
}
