/** Sets up a tfjs backend with this package's kernels, each loaded only when it is asked for. */
import * as tf from '@tensorflow/tfjs-core';
import type { BackendName } from './backends.js';

/** What computes: a backend and, as far as the browser tells, its device. */
export interface Device {
  readonly backend: BackendName;
  readonly adapter: string;
}

/** Loads a backend and its kernels, sets it up and names its device. */
const TAKE: Readonly<Record<BackendName, () => Promise<string>>> = {
  async webgpu() {
    await import('@tensorflow/tfjs-backend-webgpu');
    const { requestWebGPUDevice } = await import('../../src/backends/webgpu.js');
    await requestWebGPUDevice();
    await set('webgpu');
    const { vendor, architecture, description } = (await navigator.gpu.requestAdapter())?.info ?? {};
    // A browser that does not tell leaves them empty.
    const names = [description, [vendor, architecture].filter(Boolean).join(' ')];
    return names.find(Boolean) ?? 'an adapter that the browser does not name';
  },
  async webgl() {
    await import('@tensorflow/tfjs-backend-webgl');
    await import('../../src/backends/webgl.js');
    await set('webgl');
    const { gl } = (
      tf.backend() as tf.KernelBackend & { getGPGPUContext(): { gl: WebGLRenderingContext } }
    ).getGPGPUContext();
    const info = gl.getExtension('WEBGL_debug_renderer_info');
    return String(gl.getParameter(info?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER));
  },
  async wasm() {
    const { setWasmPaths } = await import('@tensorflow/tfjs-backend-wasm');
    const { WASM_FILES } = await import('./wasm_files.js');
    setWasmPaths(WASM_FILES);
    await set('wasm');
    const simd = (await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT')) === true ? 'with' : 'without';
    return `this processor, ${simd} SIMD`;
  },
  async cpu() {
    await import('@tensorflow/tfjs-backend-cpu');
    await set('cpu');
    return 'this processor, one thread';
  },
};

async function set(name: BackendName): Promise<void> {
  if (!(await tf.setBackend(name))) throw new Error(`backend ${name} could not be set up in this browser`);
  await tf.ready();
}

export async function takeBackend(backend: BackendName): Promise<Device> {
  // Without it the cpu backend advises to install another package.
  tf.enableProdMode();
  await import('../../src/index.js');
  return { backend, adapter: await TAKE[backend]() };
}
