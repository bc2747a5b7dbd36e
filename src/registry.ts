import {
  getBackend,
  getGradient,
  getKernel,
  type GradConfig,
  type KernelConfig,
  type Tensor,
} from '@tensorflow/tfjs-core';

// tfjs's own types leave out that nothing may be found.

/** The kernel of that name on a backend, if one is registered. */
export function findKernel(kernelName: string, backendName: string): KernelConfig | undefined {
  return getKernel(kernelName, backendName);
}

/** Whether the current backend has a kernel of that name for `x`: kernels take float32, and at least one number. */
export function hasKernelFor(kernelName: string, x: Tensor): boolean {
  return x.dtype === 'float32' && x.size > 0 && findKernel(kernelName, getBackend()) !== undefined;
}

/** The gradient of a kernel, if one is registered. */
export function findGradient(kernelName: string): GradConfig | undefined {
  return getGradient(kernelName);
}

const obstacles = new Map<string, () => string | undefined>();

/** Says how to find out what keeps a backend's own kernels from running on its device, if anything does. */
export function registerObstacle(backendName: string, find: () => string | undefined): void {
  obstacles.set(backendName, find);
}

/** What keeps the own kernels of a backend, which must be set up, from running. */
export function findObstacle(backendName: string): string | undefined {
  return obstacles.get(backendName)?.();
}
