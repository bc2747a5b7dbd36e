import * as tf from '@tensorflow/tfjs-core';

import { normals } from './data.js';
import type { BenchDevice } from './device.js';
import { timeInTurn, timeWall, type Timing, timingOf, warmUp } from './measure.js';

/** tfjs' own product of two square matrices: the rate that everything else is compared with. */
export interface Yardstick {
  readonly size: number;
  readonly time: Timing;
  readonly teraflops: number;
  /** Relative, of some elements, against float64. */
  readonly error: number;
}

const CHECKED = 200;

/** Error of `c = a b` on elements spread over the matrix. */
function errorOf(a: Float32Array, b: Float32Array, c: Float32Array, size: number): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < CHECKED; i++) {
    const [row, column] = [(i * 7919) % size, (i * 104_729) % size];
    let expected = 0;
    for (let d = 0; d < size; d++) expected += a[row * size + d] * b[d * size + column];
    difference += (c[row * size + column] - expected) ** 2;
    norm += expected ** 2;
  }
  return Math.sqrt(difference / norm);
}

export async function measureMatMul(device: BenchDevice, size: number): Promise<Yardstick> {
  await device.prepare({ limits: 'device' });
  // Rows of at most so many numbers come from one stream of the generator.
  const matrix = (name: 'query' | 'key'): Float32Array => {
    const array = new Float32Array(size * size);
    const half = size / 2;
    for (const part of [0, 1, 2, 3]) array.set(normals(name, part, half / 2, size), (part * half * size) / 2);
    return array;
  };
  const [left, right] = [matrix('query'), matrix('key')];
  const [a, b] = [left, right].map((array) => tf.tensor2d(array, [size, size]));
  const body = () => tf.matMul(a, b);
  const product = body();
  const error = errorOf(left, right, (await product.data()) as Float32Array, size);
  product.dispose();
  if (!(error < 1e-4)) throw new Error(`tfjs' matMul of ${size} is wrong here: relative error ${error}`);
  let time: Timing;
  if (device.isQueued) {
    const perCall = await warmUp(body);
    const times = await device.kernelTimes?.(body, 10, perCall);
    time = times ? timingOf(times.totals) : await timeWall(body, perCall);
  } else {
    [time] = await timeInTurn([body]);
  }
  tf.dispose([a, b]);
  return { size, time, teraflops: (2 * size ** 3) / time.median / 1e9, error };
}
