/** The library of this package's TensorFlow operations, and the kernels that call them. */
import { createRequire } from 'node:module';
import { findBackend } from '@tensorflow/tfjs-core';

import type { TensorflowBackend } from '../../kernels/common/tensorflow/call.js';
import { registerTensorflowKernels } from '../backends/tensorflow.js';
import { readInstallation, SETUP_COMMAND } from './installation.js';

/**
 * Gives backend `tensorflow`, which has to be running, this package's own kernels. Where they cannot be had the composed
 * kernels serve, and the reason is returned.
 */
export function useOpLibrary(): string | undefined {
  const backend = findBackend('tensorflow') as unknown;
  if (!isTensorflow(backend)) {
    throw new Error("tfjs-lla/tensorflow: backend 'tensorflow' is not running; import it after @tensorflow/tfjs-node");
  }
  if (backend.isUsingGpuDevice) return 'the native kernels are for the processor, and this backend computes on a GPU';
  try {
    const { ops, opsProblem, tensorflowVersion } = readInstallation();
    if (ops === undefined) return opsProblem ?? `the op library is missing; run: ${SETUP_COMMAND}`;
    const running = backend.binding.TF_Version;
    if (running !== tensorflowVersion) {
      return `the op library is built for TensorFlow ${tensorflowVersion}, and ${running} is running`;
    }
    // Loading the file registers its operations with the TensorFlow that is already in this process.
    createRequire(ops)(ops);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  registerTensorflowKernels();
  return undefined;
}

/** Whether a backend of tfjs is tfjs-node's. */
export function isTensorflow(backend: unknown): backend is TensorflowBackend {
  return typeof backend === 'object' && backend !== null && 'binding' in backend && 'isUsingGpuDevice' in backend;
}
