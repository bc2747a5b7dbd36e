import { engine, type KernelBackend } from '@tensorflow/tfjs-core';
import { probeMatrices } from '../../kernels/common/webgpu/matrix_probe.js';
import { register, ReportingWebGPUBackend } from './backend.js';
import { requestAdapter, requestDevice } from './device.js';
import { NO_ADAPTER, webGpuObstacle } from './obstacle.js';

const CALL = 'requestWebGPUDevice()';

const fail = (why: string): never => {
  throw new Error(`requestWebGPUDevice: ${why}`);
};

/** An adapter; throws, and says what to do, where there is none. */
async function findAdapter(): Promise<GPUAdapter> {
  const { process } = globalThis as { readonly process?: { readonly versions?: { readonly node?: string } } };
  const obstacle = webGpuObstacle();
  if (obstacle !== undefined && process?.versions?.node !== undefined) {
    return fail("there is no navigator.gpu in Node; call initBackend('webgpu') of tfjs-lla/node, which brings one");
  }
  if (obstacle !== undefined) return fail(`${obstacle}. Use another backend here, such as webgl`);
  const adapter = await requestAdapter(navigator.gpu);
  return (
    adapter ??
    fail(
      `${NO_ADAPTER}: see what the browser says of WebGPU (in Chrome chrome://gpu), update the graphics driver, ` +
        'or use another backend, such as webgl',
    )
  );
}

/** Throws where tfjs has a backend `webgpu` at work: in its place another one would lose its tensors. */
function refuseIfPresent(): void {
  // `findBackend` would set up the one that is only registered.
  const { webgpu: present } = engine().registry as Partial<Record<string, KernelBackend>>;
  if (present === undefined) return;
  if (!(present instanceof ReportingWebGPUBackend)) {
    fail(
      "tfjs has set up its own backend 'webgpu' already, and works on with that device; for one with more features call " +
        `${CALL} before tf.setBackend, tf.ready and the first operation`,
    );
  } else if (!present.isLost) {
    fail('has made a device before, which works; call it once, and again only when that device was lost');
  }
}

async function makeDevice(): Promise<GPUDevice> {
  refuseIfPresent();
  const adapter = await findAdapter();
  const device = await requestDevice(adapter).catch((error: unknown) =>
    fail(`the graphics adapter gave no device (${String(error)}); load the page anew, or use another backend`),
  );
  try {
    await probeMatrices(device, adapter.info);
    // While this waited, tfjs may have set up its own.
    refuseIfPresent();
  } catch (error) {
    device.destroy();
    throw error;
  }
  register(new ReportingWebGPUBackend(device, adapter.info, CALL));
  return device;
}

let isUnderWay = false;

/**
 * Makes a WebGPU device with the features and limits that the kernels can use, and registers tfjs' backend `webgpu` on it: in
 * a page or in a worker, before `tf.setBackend`, `tf.ready` and the first operation.
 *
 * Asked for are, where the graphics adapter has them, `shader-f16`, `subgroups` and
 * `chromium-experimental-subgroup-matrix`, by which `precision: 'fast'` computes, `timestamp-query`, and the adapter's
 * limits of memory. Without any of them results are the same. A device that is lost, or refuses a command, makes the next
 * call throw, or rejects the next read; for a lost one call this again. A page that lets tfjs make its device instead needs
 * no change: the kernels take what that device has.
 *
 * ```js
 * import * as tf from '@tensorflow/tfjs';
 * import '@tensorflow/tfjs-backend-webgpu';
 * import { softmaxAttention } from 'tfjs-lla';
 * import { requestWebGPUDevice } from 'tfjs-lla/webgpu';
 *
 * const device = await requestWebGPUDevice();
 * console.log([...device.features]);
 * await tf.setBackend('webgpu');
 *
 * const x = tf.randomNormal([8, 1024, 64]);
 * const out = softmaxAttention(x, x, x, { causal: true, precision: 'fast' });
 * console.log(await out.data());
 * ```
 *
 * @returns The device, which belongs to tfjs' backend: `tf.removeBackend('webgpu')` destroys it.
 * @throws Error where there is no `navigator.gpu` or no graphics adapter, where tfjs has a backend `webgpu` at work already, its
 * own or one of an earlier call, and at a second call during the first.
 */
export async function requestWebGPUDevice(): Promise<GPUDevice> {
  if (isUnderWay) fail('is at work already; await the promise of the first call');
  isUnderWay = true;
  try {
    return await makeDevice();
  } finally {
    isUnderWay = false;
  }
}
