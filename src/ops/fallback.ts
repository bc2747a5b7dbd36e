import { registerKernel } from '@tensorflow/tfjs-core';

import type { OperatorSpec } from '../../kernels/common/spec.js';
import { composedKernels } from '../../kernels/composed.js';
import { gradientKernelName } from '../gradients.js';
import { findKernel } from '../registry.js';

/**
 * Backends from which a kernel may read a number while it runs: there a read neither stalls a queue of the device nor,
 * as on `webgpu`, gives a wrong answer.
 */
const READS_BACK = ['cpu', 'wasm', 'tensorflow'];

/**
 * Gives `backend` the composed kernels of an operator, made of tfjs operators, where it has none of its own. A backend's
 * entry point that is imported later replaces them.
 */
export function ensureKernels(spec: OperatorSpec, backend: string): void {
  for (const kernelName of [spec.kernelName, gradientKernelName(spec)]) {
    if (findKernel(kernelName, backend) !== undefined) continue;
    const kernelFunc = composedKernels({ readsBack: READS_BACK.includes(backend) })[kernelName];
    registerKernel({ kernelName, backendName: backend, kernelFunc });
  }
}
