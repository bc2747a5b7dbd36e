/** Kernels by matrices of half precision, on a device without units for them: by the portable text that stands for those. */
import * as tf from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { multipliesRight } from '../../kernels/common/webgpu/matrix_probe.js';
import { forceMatrices, hasMatrixFeatures, matricesOf } from '../../kernels/common/webgpu/matrices.js';
import { tryTuning } from '../../kernels/common/webgpu/tuning.js';
import { type Checked, checkCalls, gradientErrors } from '../../scripts/fast/calls.js';
import { useBackend } from '../backends.js';
import { Random } from '../random.js';
import type { Call, Values } from '../values.js';

function gpuDevice(): GPUDevice {
  const backend = tf.backend();
  if (!(backend instanceof WebGPUBackend)) throw new Error('tfjs has no backend webgpu');
  return backend.device;
}

beforeAll(() => useBackend('webgpu'));
afterEach(() => {
  forceMatrices(undefined);
  tryTuning(undefined);
});

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

const normals = (seed: number, ...shape: number[]): Values => new Random(seed).normals([1, 2, ...shape]);

/** The first head times `factor`. */
const firstLarger = ({ shape, data }: Values, factor: number): Values => ({
  shape,
  data: Array.from(data, (x, i) => (2 * i < data.length ? factor * x : x)),
});

const added = ({ shape, data }: Values, term: number): Values => ({ shape, data: Array.from(data, (x) => x + term) });

const masked = (Tk: number): Call['tensors'] => ({
  ...gradientInputs(Tk),
  keyMask: { shape: [1, Tk], data: Array.from({ length: Tk }, (_, j) => (j < 3 || j % 7 === 3 ? 0 : 1)) },
  keyBias: new Random(5).normals([1, 2, Tk]),
});

const gradientInputs = (Tk: number): Call['tensors'] => ({
  query: normals(1, 150, 32),
  key: normals(2, Tk, 32),
  // What values have in common drops out of all gradients.
  value: added(normals(3, Tk, 32), 10),
});

/** Of every call some tiles are for matrices and some for float32, and some rows see no key. */
const gradientCalls: readonly Call[] = [
  {
    operator: 'softmaxAttention',
    options: { causal: true },
    tensors: { ...masked(130), query: firstLarger(normals(1, 150, 32), 12) },
  },
  {
    operator: 'parallaxAttention',
    options: { causal: true },
    tensors: { ...gradientInputs(130), probe: firstLarger(normals(4, 150, 32), 40) },
  },
  {
    operator: 'localLinearAttention',
    options: { causal: true, tolerance: 1e-6 },
    tensors: {
      ...masked(150),
      ridge: { shape: [1, 1, 150], data: Array.from({ length: 150 }, (_, i) => 0.5 + (i % 5)) },
    },
  },
];

// Keys minus their mean are zeros, in units to which the weights of what matters are nothing.
test('gradients of equal keys are right', async () => {
  forceMatrices('emulated');
  tryTuning({ subgroups: 1, quads: 2, buffers: 2, workgroups: 64 });
  const equal = ({ shape, data }: Values): Values => ({ shape, data: Array.from(data, () => 0.5) });
  const { query, key, value } = gradientInputs(150);
  // That of queries is zero.
  const { key: ofKey, value: ofValue } = await gradientErrors({
    operator: 'localLinearAttention',
    options: { causal: true, tolerance: 1e-6, ridge: 1, precision: 'fast' },
    tensors: { query, key: equal(key), value },
  });
  expect([ofKey, ofValue].filter((error) => !(error <= 1e-3))).toEqual([]);
});

test.each(gradientCalls.map((call) => [call.operator, call] as const))('gradient of %s is right', async (_, call) => {
  forceMatrices('emulated');
  // Short texts, which compile sooner; forward and gradient with the columns of one step, as for wide heads, or of two.
  tryTuning({ subgroups: 1, quads: 2, buffers: call.operator === 'softmaxAttention' ? 1 : 2, workgroups: 64 });
  const errors = await gradientErrors({ ...call, options: { ...call.options, precision: 'fast' } });
  expect(Object.values(errors).filter((error) => !(error <= 1e-3))).toEqual([]);
  // Half precision was used.
  expect(Math.max(...Object.values(errors))).toBeGreaterThan(1e-5);
});
