/** Shaders of calls that are compiled before those run. */
import * as tf from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { recordShaders } from '../../kernels/common/webgpu/call.js';
import { compileAhead, pipelineOf } from '../../kernels/common/webgpu/pipelines.js';
import { softmaxAttention } from '../../src/index.js';
import { useBackend } from '../backends.js';

beforeAll(() => useBackend('webgpu'));

function gpuDevice(): GPUDevice {
  const backend = tf.backend();
  if (!(backend instanceof WebGPUBackend)) throw new Error('tfjs has no backend webgpu');
  return backend.device;
}

const mean = () => softmaxAttention(tf.zeros([1, 1, 2]), tf.ones([1, 3, 2]), tf.tensor3d([1, 2, 6], [1, 3, 1]));

test('a call finds them ready, and computes what it does without', async () => {
  const before = tf.memory().numTensors;
  const shaders = recordShaders(() => tf.dispose(tf.tidy(mean)));
  expect(shaders.length).toBeGreaterThan(1);
  await compileAhead(gpuDevice(), shaders);
  for (const shader of shaders) expect(pipelineOf(gpuDevice(), shader).state).toBe('good');
  const out = tf.tidy(mean);
  expect((await out.data())[0]).toBeCloseTo(3, 5);
  out.dispose();
  expect(tf.memory().numTensors).toBe(before);
});

test('one that does not compile is left to the call that needs it, and harms no other', async () => {
  const [shader] = recordShaders(() => tf.dispose(tf.tidy(mean)));
  const broken = { ...shader, key: 'broken ahead', text: () => 'fn main() { nonsense }' };
  const good = { ...shader, key: 'good ahead' };
  await compileAhead(gpuDevice(), [broken, good]);
  expect(pipelineOf(gpuDevice(), good).state).toBe('good');
  const warning = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  expect(pipelineOf(gpuDevice(), broken).state).not.toBe('good');
  // The device tells in its own time.
  await expect(async () => {
    for (let i = 0; i < 100; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      pipelineOf(gpuDevice(), broken);
    }
  }).rejects.toThrow('shader broken ahead does not compile on this device');
  warning.mockRestore();
  // Nobody was told of an error that concerns no call.
  const out = tf.tidy(mean);
  expect((await out.data())[0]).toBeCloseTo(3, 5);
  out.dispose();
});
