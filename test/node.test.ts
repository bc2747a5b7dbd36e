import * as tf from '@tensorflow/tfjs-core';
// No TensorFlow that happens to be set up on this machine takes part.
process.env.TFJS_LLA_CACHE = '/nonexistent';

import { initBackend, type BackendName } from '../src/node.js';

// The machine shall have no GPU here, so that the choice does not depend on it; `webgpu/node.test.ts` has one.
Object.defineProperty(globalThis, 'navigator', {
  value: { gpu: { requestAdapter: () => Promise.resolve(null) } },
  configurable: true,
});

/** Calls `initBackend` the way JavaScript may. */
const initUnchecked = initBackend as (name: unknown) => Promise<unknown>;

/** Gives a backend another softmax kernel while `run` runs. */
async function withKernel(backendName: string, kernelFunc: tf.KernelFunc, run: () => Promise<void>): Promise<void> {
  const kernelName = 'SoftmaxAttention';
  const whole = tf.getKernel(kernelName, backendName);
  tf.unregisterKernel(kernelName, backendName);
  tf.registerKernel({ kernelName, backendName, kernelFunc });
  try {
    await run();
  } finally {
    tf.unregisterKernel(kernelName, backendName);
    tf.registerKernel(whole);
  }
}

const notANumber: tf.KernelFunc = () => [tf.fill([1, 1, 1], NaN)];

const throws: tf.KernelFunc = () => {
  throw new Error('out of memory');
};

test.each<BackendName>(['cpu', 'wasm'])('initBackend(%p) makes that backend the current one', async (name) => {
  const { backend, adapter, reason, skipped } = await initBackend(name);
  expect(backend).toBe(name);
  expect(tf.getBackend()).toBe(name);
  expect(adapter).toMatch(name === 'cpu' ? /^JavaScript on \S/ : /^WebAssembly with(out)? SIMD on \S/);
  expect(reason).toBe('asked for by name');
  expect(skipped).toEqual([]);
});

test("'auto' takes a backend that works and says why, and why not the other", async () => {
  const { backend, adapter, reason, skipped } = await initBackend();
  expect(tf.getBackend()).toBe(backend);
  expect(adapter).not.toBe('');
  expect(reason).toMatch(/^fastest of the 2 that work here/);
  expect(skipped).toEqual([
    { backend: 'tensorflow', reason: expect.stringContaining('npx tfjs-lla setup tensorflow') as string },
    { backend: 'webgpu', reason: expect.stringContaining('finds no GPU') as string },
    {
      backend: backend === 'cpu' ? 'wasm' : 'cpu',
      reason: expect.stringMatching(/^works, but took [\d.]+ ms where \w+ took [\d.]+ ms$/) as string,
    },
  ]);
});

test.each([
  ['linux', /install the GPU's driver with its part for Vulkan and the loader libvulkan\.so\.1/],
  ['darwin', /it needs macOS with Metal$/],
  ['win32', /update the GPU's driver$/],
])('without a GPU on %s the error says what to do', async (platform, advice) => {
  await initBackend('cpu');
  const { platform: own } = process;
  Object.defineProperty(process, 'platform', { value: platform });
  try {
    await expect(initBackend('webgpu')).rejects.toThrow(/^initBackend: backend 'webgpu' finds no GPU that it can use/);
    await expect(initBackend('webgpu')).rejects.toThrow(advice);
  } finally {
    Object.defineProperty(process, 'platform', { value: own });
  }
  expect(tf.getBackend()).toBe('cpu');
});

test('no tensors are left behind', async () => {
  for (const name of ['cpu', 'wasm', 'auto'] as const) {
    await initBackend(name);
    const before = tf.memory().numTensors;
    await initBackend(name);
    expect(tf.memory().numTensors).toBe(before);
  }
});

test('a backend that computes wrong numbers is refused by name and skipped by auto', async () => {
  await initBackend('wasm');
  await initBackend('cpu');
  await withKernel('wasm', notANumber, async () => {
    await expect(initBackend('wasm')).rejects.toThrow("initBackend: backend 'wasm' computes wrong numbers");
    expect(tf.getBackend()).toBe('cpu');
    const { backend, reason, skipped } = await initBackend('auto');
    expect(backend).toBe('cpu');
    expect(reason).toBe('the only one that works here');
    expect(skipped[2]).toMatchObject({
      backend: 'wasm',
      reason: expect.stringContaining('computes wrong numbers') as string,
    });
  });
});

test('where nothing works, the error says why for each backend and the current backend stays', async () => {
  await initBackend('wasm');
  await initBackend('cpu');
  await withKernel('wasm', notANumber, () =>
    withKernel('cpu', throws, async () => {
      await expect(initBackend('auto')).rejects.toThrow(
        /no backend works here:\n.*'tensorflow' .*\n.*'webgpu' finds no GPU.*\n.*'wasm' computes wrong.*\n.*'cpu' fails at.*: out of memory$/,
      );
      expect(tf.getBackend()).toBe('cpu');
    }),
  );
});

test.each([
  ['gpu', "'gpu'"],
  [7, '7'],
  [null, 'null'],
])('the unknown name %p is refused', async (name, shown) => {
  await initBackend('cpu');
  await expect(initUnchecked(name)).rejects.toThrow(
    `initBackend: name must be one of 'auto', 'tensorflow', 'webgpu', 'wasm', 'cpu', got ${shown}`,
  );
  expect(tf.getBackend()).toBe('cpu');
});
