/** How the programs of this folder set a backend up. */
import { enableProdMode, env } from '@tensorflow/tfjs-core';
import { type BackendName, initBackend, type InitializedBackend } from '../../src/node.js';

export async function startBackend(name: BackendName | 'auto'): Promise<InitializedBackend> {
  // Without it the cpu backend advises on every start to install another package.
  enableProdMode();
  const device = await initBackend(name);
  setUpForTraining(device.backend);
  return device;
}

/** Sets the current backend up as training wants it: runs repeat to the bit, many small commands go in one submission. */
export function setUpForTraining(backend: string): void {
  if (backend !== 'webgpu') return;
  // tfjs' WebGPU backend sums a long product of few outputs by atomic additions, in whatever order they come; below one
  // work group it never does. Without this no run of the trainer would repeat another to the bit.
  env().set('WEBGPU_THRESHOLD_TO_INCREASE_WORKGROUPS_FOR_MATMUL', 0.1);
  // A step has hundreds of small commands: tfjs' 15 a submission cost an eighth of it.
  env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', 200);
}
