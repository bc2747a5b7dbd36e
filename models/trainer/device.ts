import { env } from '@tensorflow/tfjs-core';
import { initBackend } from '../../src/node.js';

/** Sets a backend up as training wants it: runs repeat to the bit, and many small commands go in one submission. */
export async function trainingBackend(name: Parameters<typeof initBackend>[0]): ReturnType<typeof initBackend> {
  const device = await initBackend(name);
  if (device.backend === 'webgpu') {
    // tfjs' WebGPU backend sums a long product of few outputs by atomic additions, in whatever order they come; below one
    // work group it never does. Without this no run would repeat another to the bit.
    env().set('WEBGPU_THRESHOLD_TO_INCREASE_WORKGROUPS_FOR_MATMUL', 0.1);
    // A step has hundreds of small commands: tfjs' 15 a submission cost an eighth of it.
    env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', 200);
  }
  return device;
}
