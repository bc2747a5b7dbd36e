/** How the programs of this folder set a backend up. */
import { enableProdMode, env } from '@tensorflow/tfjs-core';
import { type BackendName, initBackend, type InitializedBackend } from '../../src/node.js';

export async function startBackend(name: BackendName | 'auto'): Promise<InitializedBackend> {
  // Without it the cpu backend advises on every start to install another package.
  enableProdMode();
  const device = await initBackend(name);
  // tfjs' WebGPU backend sums a long product of few outputs by atomic additions, in whatever order they come; below one
  // work group it never does. Without this no run of the trainer would repeat another to the bit.
  if (device.backend === 'webgpu') env().set('WEBGPU_THRESHOLD_TO_INCREASE_WORKGROUPS_FOR_MATMUL', 0.1);
  return device;
}
