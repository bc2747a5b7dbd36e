import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/** Times of one function, in milliseconds. */
export interface Timing {
  readonly median: number;
  readonly minimum: number;
  readonly runs: number;
}

/** Runs `body` and waits for its result; a backend that works ahead is not done when the call returns. */
async function runOnce(body: () => Tensor): Promise<number> {
  const start = performance.now();
  const result = body();
  await result.data();
  const time = performance.now() - start;
  result.dispose();
  return time;
}

/**
 * Times several functions in turn, A B A B ..., so that a machine whose speed drifts slows them alike; at least
 * `minimumRuns` each and, while it fits, until `budget` milliseconds are spent on each.
 */
export async function timeInTurn(bodies: readonly (() => Tensor)[], minimumRuns = 3, budget = 1500): Promise<Timing[]> {
  for (const body of bodies) await runOnce(body);
  const times = bodies.map((): number[] => []);
  let spent = 0;
  for (let run = 0; run < minimumRuns || (spent < budget * bodies.length && run < 30); run++) {
    for (const [i, body] of bodies.entries()) {
      const time = await runOnce(body);
      times[i].push(time);
      spent += time;
    }
  }
  return times.map((all) => {
    const sorted = all.sort((a, b) => a - b);
    return { median: sorted[Math.floor(sorted.length / 2)], minimum: sorted[0], runs: sorted.length };
  });
}

/** Relative L2 error of a tensor. */
export async function relativeError(actual: Tensor, expected: ArrayLike<number>): Promise<number> {
  const values = await actual.data();
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (values[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Standard normal tensors `[heads, T, D]`, the same at every run. */
export function normals(count: number, shape: [number, number, number]): tf.Tensor3D[] {
  return Array.from({ length: count }, (_, i) => tf.randomNormal<tf.Rank.R3>(shape, 0, 1, 'float32', i + 1));
}
