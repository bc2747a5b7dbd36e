/** `requestWebGPUDevice()` in a page whose tfjs has its own device at first. */
import * as tf from '@tensorflow/tfjs-core';
import { requestWebGPUDevice } from '../../src/backends/webgpu.js';
import { casesOf } from '../cases.js';
import { checkCase } from '../check_case.js';

/** What is wrong with a small case, gradients included. Each operator asks the device in the same way; one compiles quickly. */
async function checkFast(): Promise<string[]> {
  const [, build] = casesOf('softmaxAttention', 'pairs').find(([name]) => name.startsWith('size 2x2,')) ?? [];
  if (build === undefined) throw new Error('there is no case of size 2x2');
  const testCase = build();
  return checkCase({ ...testCase, options: { ...testCase.options, precision: 'fast' } }, 'webgpu');
}

const gpuDevice = (): GPUDevice => (tf.backend() as tf.KernelBackend & { readonly device: GPUDevice }).device;

export function ownDeviceSuite(): void {
  describe('a page with a WebGPU device of its own', () => {
    it("is told where tfjs' own is at work, which goes on", async () => {
      await tf.setBackend('webgpu');
      const device = gpuDevice();
      const message = await requestWebGPUDevice().then(String, String);
      expect(message).toContain("tfjs has set up its own backend 'webgpu' already");
      expect(gpuDevice()).toBe(device);
      expect(await checkFast()).toEqual([]);
    });

    it('computes on it what it computes without it', async () => {
      tf.removeBackend('webgpu');
      const device = await requestWebGPUDevice();
      expect(await tf.setBackend('webgpu')).toBe(true);
      expect(gpuDevice()).toBe(device);
      expect(await checkFast()).toEqual([]);
    });

    it('gets another one when it is lost, and errors until then', async () => {
      const device = gpuDevice();
      const unread = tf.matMul(tf.ones([64, 64]), tf.ones([64, 64]));
      device.destroy();
      await device.lost;
      const message = await unread.data().then(String, String);
      expect(message).toContain('call requestWebGPUDevice() for a new device');
      expect((await requestWebGPUDevice()) === device).toBe(false);
      await tf.setBackend('webgpu');
      const product = tf.matMul(tf.ones([64, 64]), tf.ones([64, 64]));
      expect((await product.data())[0]).toBe(64);
      product.dispose();
    });
  });
}
