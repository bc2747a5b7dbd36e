import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/** Times of one thing, in milliseconds. */
export interface Timing {
  readonly median: number;
  readonly minimum: number;
  readonly maximum: number;
  readonly runs: number;
}

export function timingOf(times: readonly number[]): Timing {
  const sorted = [...times].sort((a, b) => a - b);
  return {
    median: sorted[Math.floor(sorted.length / 2)],
    minimum: sorted[0],
    maximum: sorted[sorted.length - 1],
    runs: sorted.length,
  };
}

/** One call of what is measured; what it returns is disposed. */
export type Body = () => Tensor | Tensor[];

/** Waits for a result by reading one of its elements. */
async function settle(result: Tensor | Tensor[]): Promise<void> {
  const tensor = Array.isArray(result) ? result[0] : result;
  const element = tf.tidy(() => tf.slice(tf.reshape(tensor, [-1]), 0, 1));
  await element.data();
  element.dispose();
}

/** Milliseconds of one call and the wait for its result. */
export async function timeOnce(body: Body): Promise<number> {
  const start = performance.now();
  const result = tf.tidy(body);
  await settle(result);
  const time = performance.now() - start;
  tf.dispose(result);
  return time;
}

/** Milliseconds a call of `calls` that are enqueued one after another before the last one's result is waited for. */
async function timePipelined(body: Body, calls: number): Promise<number> {
  const start = performance.now();
  for (let i = 1; i < calls; i++) tf.dispose(tf.tidy(body));
  const result = tf.tidy(body);
  await settle(result);
  const time = (performance.now() - start) / calls;
  tf.dispose(result);
  return time;
}

/** How long a device is kept busy with what is to be timed before it is: idle ones run at a fraction of their clock. */
const WARM_UP = 250;

/** Runs `body` until the device is at its full clock; milliseconds a call in the end. */
export async function warmUp(body: Body, milliseconds = WARM_UP): Promise<number> {
  const start = performance.now();
  let perCall = await timeOnce(body);
  while (performance.now() - start < milliseconds) {
    perCall = await timePipelined(body, Math.max(1, Math.min(200, Math.round(60 / perCall))));
  }
  return perCall;
}

/** Milliseconds of work that are enqueued before a result is waited for, and how often that is done. */
const BLOCK = 200;
const BLOCKS = 3;

/** Wall time of a call among others of its kind, `perCall` milliseconds of which are expected. */
export async function timeWall(body: Body, perCall: number): Promise<Timing> {
  const calls = Math.max(1, Math.min(1000, Math.round(BLOCK / perCall)));
  const times: number[] = [];
  for (let block = 0; block < BLOCKS; block++) times.push(await timePipelined(body, calls));
  return timingOf(times);
}

/**
 * Times several functions in turn, A B A B ..., so that a machine whose speed drifts slows them alike; at least three
 * runs each and, while it fits, until `budget` milliseconds are spent on each.
 */
export async function timeInTurn(bodies: readonly Body[], budget = 1500): Promise<Timing[]> {
  for (const body of bodies) await timeOnce(body);
  const times = bodies.map((): number[] => []);
  let spent = 0;
  for (let run = 0; run < 3 || (spent < budget * bodies.length && run < 30); run++) {
    for (const [i, body] of bodies.entries()) {
      const time = await timeOnce(body);
      times[i].push(time);
      spent += time;
    }
  }
  return times.map(timingOf);
}

/** Rejects where `work` is not done in time; the work itself cannot be stopped. */
export async function within<T>(work: Promise<T>, milliseconds: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`${what} took more than ${(milliseconds / 1000).toFixed(0)} s`)),
      milliseconds,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
