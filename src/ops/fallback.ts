import { type KernelFunc, registerKernel, unregisterKernel } from '@tensorflow/tfjs-core';

import type { OperatorSpec } from '../../kernels/common/spec.js';
import { composedKernels } from '../../kernels/composed.js';
import { gradientKernelName } from '../gradients.js';
import { findKernel, findObstacle } from '../registry.js';

/**
 * Backends from which a kernel may read a number while it runs: there a read neither stalls a queue of the device nor,
 * as on `webgpu`, gives a wrong answer.
 */
const READS_BACK = ['cpu', 'wasm', 'tensorflow'];

/** Backends whose own kernels were given up, and composed kernels that this module has registered. */
const warned = new Set<string>();
const registered = new WeakSet<KernelFunc>();

/** Takes away the own kernels of an operator that cannot run on the device of `backend`; warns once. */
function giveUp(spec: OperatorSpec, backend: string): void {
  const obstacle = findObstacle(backend);
  if (obstacle === undefined) return;
  for (const kernelName of [spec.kernelName, gradientKernelName(spec), `${spec.kernelName}Step`]) {
    const kernel = findKernel(kernelName, backend);
    if (kernel !== undefined && !registered.has(kernel.kernelFunc)) unregisterKernel(kernelName, backend);
  }
  if (warned.has(backend)) return;
  warned.add(backend);
  console.warn(`tfjs-lla: backend ${backend} gets kernels composed of tfjs operators instead of its own: ${obstacle}`);
}

/**
 * Gives `backend` the composed kernels of an operator, made of tfjs operators, where it has none of its own or cannot run
 * them. A backend's entry point that is imported later replaces them.
 */
export function ensureKernels(spec: OperatorSpec, backend: string): void {
  giveUp(spec, backend);
  for (const kernelName of [spec.kernelName, gradientKernelName(spec)]) {
    if (findKernel(kernelName, backend) !== undefined) continue;
    const kernelFunc = composedKernels({ readsBack: READS_BACK.includes(backend) })[kernelName];
    registered.add(kernelFunc);
    registerKernel({ kernelName, backendName: backend, kernelFunc });
  }
}
