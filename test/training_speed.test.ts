/** What `npm run train:speed` times and reports. */
import * as tf from '@tensorflow/tfjs-core';
import { measureSpeed, type Speed } from '../scripts/training_speed/measure.js';
import { markdownOf, type Run, withRun } from '../scripts/training_speed/report.js';
import { useBackend } from './backends.js';

const shape = { dim: 16, heads: 2, layers: 1, context: 16, batch: 2 };

test('steps learn, are counted and leave no tensor behind', async () => {
  await useBackend('cpu');
  const before = tf.memory().numTensors;
  const speed = await measureSpeed('softmax', { ...shape, batch: 8 }, { warmUp: 2, steps: 58, seconds: 60 });
  expect(tf.memory().numTensors).toBe(before);
  expect(speed.steps).toBe(58);
  expect(speed.stepsPerSecond).toBeCloseTo(58 / speed.seconds, 6);
  expect(speed.losses[1]).toBeLessThan(speed.losses[0]);
  // One block: 12 times the square of the dimension, and biases.
  expect(speed.weights).toBeGreaterThan(2 * 256 * 16 + 12 * 16 * 16);
});

test('no more steps are begun when the time is over', async () => {
  await useBackend('cpu');
  const { steps } = await measureSpeed('linear', shape, { warmUp: 1, steps: 1000, seconds: 1e-9 });
  expect(steps).toBe(5);
});

describe('the report', () => {
  const speed = (attention: Speed['attention'], stepsPerSecond: number): Speed => ({
    ...{ attention, stepsPerSecond, weights: 99, warmUpSeconds: 1, steps: 10, seconds: 10 / stepsPerSecond },
    losses: [5.5, 4.25],
  });
  const run = (backend: string, ...speeds: Speed[]): Run => ({
    ...{
      backend,
      adapter: 'a card',
      driver: '',
      date: '2026-01-01',
      command: 'command',
      node: 'v20',
      shape,
      warmUp: 3,
    },
    speeds,
  });

  test('has a row for each attention, against softmax', () => {
    const text = markdownOf([
      run('webgpu', speed('localLinear', 10), speed('softmax', 40)),
      run('cpu', speed('mesa', 0.5)),
    ]);
    expect(text).toContain('## `webgpu` on a card\n');
    expect(text).toContain('| LLA | 10.0 | 100 | 320 | 0.25 | 5.50 to 4.25 | 10 |');
    expect(text).toContain('| softmax | 40.0 | 25.0 | 1280 | 1.00 | 5.50 to 4.25 | 10 |');
    expect(text).toContain('| mesa | 0.500 | 2000 | 16 | - | 5.50 to 4.25 | 10 |');
  });

  test('a run takes the place of the one before of the same backend', () => {
    const [old, other, fresh] = [run('webgpu', speed('softmax', 1)), run('cpu'), run('webgpu', speed('softmax', 2))];
    expect(withRun([old, other], fresh)).toEqual([other, fresh]);
    const wider = { ...fresh, shape: { ...shape, dim: 32 } };
    expect(withRun([old, other], wider)).toEqual([old, other, wider]);
  });
});
