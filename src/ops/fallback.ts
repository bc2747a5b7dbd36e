import { getKernel, registerKernel } from '@tensorflow/tfjs-core';

import { composedKernels } from '../../kernels/composed.js';

/**
 * Backends from which a kernel may read a number while it runs: there a read neither stalls a queue of the device nor,
 * as on `webgpu`, gives a wrong answer.
 */
const READS_BACK = ['cpu', 'wasm', 'tensorflow'];

/**
 * Gives `backend` the composed kernels, made of tfjs operators, where it has none of its own. A backend's entry point
 * that is imported later replaces them.
 */
export function ensureKernels(backend: string): void {
  const kernels = composedKernels({ readsBack: READS_BACK.includes(backend) });
  for (const [kernelName, kernelFunc] of Object.entries(kernels)) {
    if (getKernel(kernelName, backend) === undefined) registerKernel({ kernelName, backendName: backend, kernelFunc });
  }
}
