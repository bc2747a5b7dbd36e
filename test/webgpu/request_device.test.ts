/** `requestWebGPUDevice()`, as far as Dawn in Node can stand for a browser, and devices whose matrices are not those of the kernels. */
import * as tf from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { hasMatrixFeatures, matricesOf } from '../../kernels/common/webgpu/matrices.js';
import { multipliesRight, probeMatrices } from '../../kernels/common/webgpu/matrix_probe.js';
import { requestWebGPUDevice } from '../../src/backends/webgpu.js';
import { softmaxAttention } from '../../src/index.js';
import { findAdapter, findGpu } from '../../src/node/dawn.js';
import { unregister } from '../../src/webgpu/backend.js';
import { create } from '../dawn.js';

/** The mean of 1, 2 and 6, by an attention whose scores are all equal. */
function meanByAttention(): tf.Tensor {
  const options = { precision: 'fast' } as const;
  return softmaxAttention(tf.zeros([1, 1, 2]), tf.ones([1, 3, 2]), tf.tensor3d([1, 2, 6], [1, 3, 1]), options);
}

beforeAll(() => findGpu());
beforeEach(unregister);
afterAll(unregister);

test('tfjs computes on the device, which has what the adapter offers of use', async () => {
  const device = await requestWebGPUDevice();
  expect(await tf.setBackend('webgpu')).toBe(true);
  const backend = tf.backend();
  expect(backend instanceof WebGPUBackend && backend.device).toBe(device);
  const adapter = await findAdapter(navigator.gpu);
  for (const feature of ['timestamp-query', 'shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix']) {
    expect([feature, device.features.has(feature)]).toEqual([feature, adapter.features.has(feature)]);
  }
  const { maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage } = adapter.limits;
  expect(device.limits).toMatchObject({ maxComputeWorkgroupStorageSize, maxStorageBuffersPerShaderStage });
  expect((await meanByAttention().data())[0]).toBeCloseTo(3, 5);
});

test('a second call is an error that says so, also while the first is at work', async () => {
  const first = requestWebGPUDevice();
  await expect(requestWebGPUDevice()).rejects.toThrow('is at work already; await the promise of the first call');
  const device = await first;
  // tfjs has the backend once it is used.
  await tf.setBackend('webgpu');
  await expect(requestWebGPUDevice()).rejects.toThrow('has made a device before, which works; call it once');
  expect((await meanByAttention().data())[0]).toBeCloseTo(3, 5);
  expect(tf.backend()).toMatchObject({ device });
});

test('a lost device is an error that names the remedy, and the remedy works', async () => {
  const device = await requestWebGPUDevice();
  await tf.setBackend('webgpu');
  device.destroy();
  await device.lost;
  expect(() => meanByAttention()).toThrow(
    "backend 'webgpu' was lost (destroyed: device was destroyed), and its tensors with it; call requestWebGPUDevice()",
  );
  expect(await requestWebGPUDevice()).not.toBe(device);
  await tf.setBackend('webgpu');
  expect((await meanByAttention().data())[0]).toBeCloseTo(3, 5);
});

test("tfjs' own backend stays where it is at work, and computes the same", async () => {
  const adapter = await findAdapter(navigator.gpu);
  const device = await adapter.requestDevice();
  tf.registerBackend('webgpu', () => new WebGPUBackend(device, adapter.info));
  await tf.setBackend('webgpu');
  await expect(requestWebGPUDevice()).rejects.toThrow(
    "tfjs has set up its own backend 'webgpu' already, and works on with that device",
  );
  expect(tf.backend()).toMatchObject({ device });
  expect((await meanByAttention().data())[0]).toBeCloseTo(3, 5);
});

test('tfjs that sets up its own in the meantime is left alone', async () => {
  const adapter = await findAdapter(navigator.gpu);
  const own = new WebGPUBackend(await adapter.requestDevice(), adapter.info);
  const call = requestWebGPUDevice();
  tf.registerBackend('webgpu', () => own);
  await tf.setBackend('webgpu');
  await expect(call).rejects.toThrow("tfjs has set up its own backend 'webgpu' already");
  expect(tf.backend()).toBe(own);
});

test.each([
  [
    'no adapter',
    { requestAdapter: () => Promise.resolve(null) },
    /found no graphics adapter .* or use another backend/,
  ],
  ['no navigator.gpu', undefined, /there is no navigator.gpu in Node; call initBackend\('webgpu'\) of tfjs-lla\/node/],
])('%s is an error that says what to do', async (_, gpu, message) => {
  const present = navigator;
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true, writable: true });
  await expect(requestWebGPUDevice()).rejects.toThrow(message);
  Object.defineProperty(globalThis, 'navigator', { value: present, configurable: true, writable: true });
});

describe('a device whose matrices are of other sizes', () => {
  /** Dawn without a GPU: it checks shaders, has all features and computes nothing. */
  async function nullDevice(): Promise<GPUDevice> {
    const adapter = await findAdapter(create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']));
    const features = ['chromium-experimental-subgroup-matrix', 'shader-f16', 'subgroups'];
    return adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[] });
  }

  /** The device with another list of matrices, of subgroups of 32, and buffers enough. */
  function listing(device: GPUDevice, configs: readonly object[]): GPUDevice {
    const others: Readonly<Record<string | symbol, unknown>> = {
      adapterInfo: { subgroupMinSize: 32, subgroupMaxSize: 32, subgroupMatrixConfigs: configs },
      limits: { maxStorageBuffersPerShaderStage: 10 },
    };
    return new Proxy(device, {
      get(target, name) {
        if (name in others) return others[name];
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  }

  const square = (size: number, M = size) => ({
    componentType: 'f16',
    resultComponentType: 'f32',
    M,
    N: size,
    K: size,
  });

  test('computes in float32 where it lists 8 x 8 x 8 only', async () => {
    const device = listing(await nullDevice(), [square(8)]);
    expect(hasMatrixFeatures(device)).toBe(false);
    await probeMatrices(device);
    expect(matricesOf(device)).toBeUndefined();
    expect(hasMatrixFeatures(listing(device, [square(8), square(16)]))).toBe(true);
    // A list of the adapter's that the device has not.
    const { adapterInfo } = device;
    expect(hasMatrixFeatures(listing(device, []), adapterInfo)).toBe(false);
  });

  test('computes in float32 where it lists nothing and its products are wrong', async () => {
    const device = listing(await nullDevice(), []);
    const errors: string[] = [];
    device.addEventListener('uncapturederror', ({ error }) => errors.push(error.message));
    expect(hasMatrixFeatures(device)).toBe(true);
    expect(await multipliesRight(device, 'hardware')).toBe(false);
    await probeMatrices(device);
    expect(matricesOf(device)).toBeUndefined();
    await device.queue.onSubmittedWorkDone();
    expect(errors).toEqual([]);
  });
});
