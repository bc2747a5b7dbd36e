/** Kernels by matrices of half precision, on a device without units for them: by the portable text that stands for those. */
import * as tf from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { multipliesRight } from '../../kernels/common/webgpu/matrix_probe.js';
import { forceMatrices, hasMatrixFeatures, matricesOf } from '../../kernels/common/webgpu/matrices.js';
import { type Checked, checkCalls } from '../../scripts/fast/calls.js';
import { useBackend } from '../backends.js';

function gpuDevice(): GPUDevice {
  const backend = tf.backend();
  if (!(backend instanceof WebGPUBackend)) throw new Error('tfjs has no backend webgpu');
  return backend.device;
}

beforeAll(() => useBackend('webgpu'));
afterEach(() => forceMatrices(undefined));

test('the probe finds the portable text right', async () => {
  expect(await multipliesRight(gpuDevice(), 'emulated')).toBe(true);
});

test('the probe of units that a device lacks says so, and nothing else', async () => {
  const device = gpuDevice();
  if (hasMatrixFeatures(device)) return;
  const errors: string[] = [];
  const listen = ({ error }: GPUUncapturedErrorEvent): unknown => errors.push(error.message);
  device.addEventListener('uncapturederror', listen);
  expect(await multipliesRight(device, 'hardware')).toBe(false);
  await device.queue.onSubmittedWorkDone();
  device.removeEventListener('uncapturederror', listen);
  expect(errors).toEqual([]);
  expect(matricesOf(device)).toBeUndefined();
});

// The middle size of each: several heads, no dimension a multiple of 16, more keys than queries.
test.each(['softmaxAttention', 'parallaxAttention', 'localLinearAttention'])('%s is right', async (operator) => {
  forceMatrices('emulated');
  const checked: Checked[] = [];
  const name = `^${operator} 3x77x700 40 24 \\{"causal":true(,"tolerance":0\\.001,"ridge":1)?\\}$`;
  await checkCalls(Infinity, (one) => checked.push(one), new RegExp(name));
  expect(checked).toHaveLength(1);
  expect(checked.filter(({ isGood }) => !isGood)).toEqual([]);
});
