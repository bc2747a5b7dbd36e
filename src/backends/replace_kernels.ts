import { type KernelFunc, registerKernel, unregisterKernel } from '@tensorflow/tfjs-core';

import { findKernel } from '../registry.js';

/**
 * Registers a backend's kernels in place of what stands under their names: composed ones that an earlier call brought,
 * or the same ones from another copy of this package (tfjs's registry is global to the process and warns of doubles).
 */
export function replaceKernels(backendName: string, kernels: Readonly<Record<string, KernelFunc>>): void {
  for (const [kernelName, kernelFunc] of Object.entries(kernels)) {
    if (findKernel(kernelName, backendName) !== undefined) unregisterKernel(kernelName, backendName);
    registerKernel({ kernelName, backendName, kernelFunc });
  }
}
