/** `initBackend('webgpu')` on a real device and with real failures. */
import * as tf from '@tensorflow/tfjs-core';
import { localLinearAttention, softmaxAttention } from '../../src/index.js';
import { initBackend } from '../../src/node.js';

interface GpuBackend extends tf.KernelBackend {
  readonly device: GPUDevice;
}

const gpuBackend = () => tf.backend() as GpuBackend;

/** A product that is too large for tfjs to compute it without the GPU. */
const product = () => tf.tidy(() => tf.matMul(tf.ones([64, 64]), tf.ones([64, 64])));

const LOST =
  "the GPU device of backend 'webgpu' was lost (destroyed: device was destroyed), and its tensors with it; " +
  "call initBackend('webgpu') for a new device and make the tensors anew, or use another backend";

beforeEach(async () => {
  await initBackend('webgpu');
});

afterAll(() => {
  tf.removeBackend('webgpu');
});

test('the backend is the current one and names its GPU', async () => {
  const { backend, adapter, reason, skipped } = await initBackend('webgpu');
  expect(backend).toBe('webgpu');
  expect(tf.getBackend()).toBe('webgpu');
  const { device, description } = gpuBackend().device.adapterInfo;
  expect(adapter).toBe(`${device} (${description})`);
  expect(adapter).toMatch(/^\S.*\(\S.*\)$/);
  expect(reason).toBe('asked for by name');
  expect(skipped).toEqual([]);
});

test('the device can do what the adapter can, as far as it is of use', async () => {
  const { device } = gpuBackend();
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  for (const feature of ['timestamp-query', 'shader-f16', 'subgroups']) {
    expect(device.features.has(feature)).toBe(adapter?.features.has(feature));
  }
  for (const limit of ['maxComputeWorkgroupStorageSize', 'maxStorageBufferBindingSize', 'maxBufferSize'] as const) {
    expect(device.limits[limit]).toBe(adapter?.limits[limit]);
  }
});

test('setting it up again keeps the device and leaves no tensor', async () => {
  const { device } = gpuBackend();
  const before = tf.memory().numTensors;
  await initBackend('webgpu');
  expect(gpuBackend().device).toBe(device);
  expect(tf.memory().numTensors).toBe(before);
});

test('data is read asynchronously; another way is an error, not zeros', async () => {
  const out = product();
  expect(() => out.dataSync()).toThrow("backend 'webgpu' cannot read data synchronously in Node; use await");
  expect((await out.data())[0]).toBe(64);
  // What has been read once stays at hand.
  expect(out.dataSync()[0]).toBe(64);
  out.dispose();
});

test('a lost device is an error at the next call of an operator, of tfjs and at a read', async () => {
  const key = tf.randomNormal([1, 40, 32]);
  const unread = product();
  gpuBackend().device.destroy();
  await expect(unread.data()).rejects.toThrow(LOST);
  expect(() => product()).toThrow(LOST);
  expect(() => softmaxAttention(key, key, key)).toThrow(LOST);
  expect(() => localLinearAttention(key, key, key)).toThrow(LOST);
});

test('a read that is under way when the device is lost fails with the same error', async () => {
  const reading = product().data();
  gpuBackend().device.destroy();
  await expect(reading).rejects.toThrow(LOST);
});

test('after a loss initBackend makes a new device', async () => {
  const { device } = gpuBackend();
  device.destroy();
  await device.lost;
  await initBackend('webgpu');
  expect(gpuBackend().device).not.toBe(device);
  const out = product();
  expect((await out.data())[0]).toBe(64);
  out.dispose();
});

test('a command that the GPU refuses is an error at the next read, once', async () => {
  gpuBackend().device.createShaderModule({ code: 'fn broken( {' });
  await expect(product().data()).rejects.toThrow(/^tfjs-lla: the GPU refused a command of backend 'webgpu'.*WGSL/s);
  expect((await product().data())[0]).toBe(64);
});

test("'auto' prefers no GPU that is simulated in software", async () => {
  const { isFallbackAdapter, device } = gpuBackend().device.adapterInfo;
  const { backend, skipped } = await initBackend('auto');
  const reason = skipped.find(({ backend: name }) => name === 'webgpu')?.reason;
  if (isFallbackAdapter) {
    expect(backend).not.toBe('webgpu');
    expect(reason).toContain(`has only ${device}`);
    expect(reason).toContain('a device simulated in software');
  } else {
    expect(reason ?? 'taken').toMatch(/^(taken|works, but took)/);
  }
});
