import { getGradient, getKernel, type GradConfig, type KernelConfig } from '@tensorflow/tfjs-core';

// tfjs's own types leave out that nothing may be found.

/** The kernel of that name on a backend, if one is registered. */
export function findKernel(kernelName: string, backendName: string): KernelConfig | undefined {
  return getKernel(kernelName, backendName);
}

/** The gradient of a kernel, if one is registered. */
export function findGradient(kernelName: string): GradConfig | undefined {
  return getGradient(kernelName);
}
