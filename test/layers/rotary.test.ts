/** Rotary embedding against its formula, and its gradient, which is the rotation back. */
import * as tf from '@tensorflow/tfjs-core';
import { Rotary } from '../../src/layers/rotary.js';
import { backends, useBackend } from '../backends.js';
import { relativeL2 } from '../values.js';
import { normals } from './kinds.js';

/** Channel `i` and `i + rotated / 2` of each head turned by `position * base^(-2 i / rotated)`. */
function rotated(x: Float32Array, [B, H, T, D]: number[], starts: number[], channels: number, direction: 1 | -1) {
  const out = Float64Array.from(x);
  const half = channels / 2;
  for (let row = 0; row < B * H * T; row++) {
    const start = starts[Math.floor(row / (H * T)) % starts.length];
    for (let i = 0; i < half; i++) {
      const angle = direction * (start + (row % T)) * 10000 ** (-i / half);
      const [a, b] = [x[row * D + i], x[row * D + half + i]];
      out[row * D + i] = a * Math.cos(angle) - b * Math.sin(angle);
      out[row * D + half + i] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return out;
}

describe.each(backends)('rotary embedding on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each([
    [[1, 1, 3, 2], [0], 1],
    [[2, 3, 40, 16], [0], 1],
    [[2, 3, 5, 16], [7, 1000], 1],
    [[3, 1, 4, 12], [0, 2, 5], 0.5],
  ])('of %p from %p, share %d', async (shape, starts, fraction) => {
    const rotary = Rotary.of('test', { fraction }, shape[3]);
    const [x, dy] = [normals(1, ...shape), normals(2, ...shape)];
    const rotate = (input: tf.Tensor) => rotary?.apply(input, starts) ?? input;
    const channels = shape[3] * fraction;
    const values = await rotate(x).data<'float32'>();
    expect(relativeL2(values, rotated(await x.data<'float32'>(), shape, starts, channels, 1))).toBeLessThan(1e-6);
    const gradient = await tf.grad(rotate)(x, dy).data<'float32'>();
    expect(relativeL2(gradient, rotated(await dy.data<'float32'>(), shape, starts, channels, -1))).toBeLessThan(1e-6);
  });
});
