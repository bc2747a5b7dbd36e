/** The library of this package's TensorFlow operations, and the kernels that call them. */
import { createRequire } from 'node:module';
import { findBackend } from '@tensorflow/tfjs-core';

import type { TensorflowBackend } from '../../kernels/common/tensorflow/call.js';
import { registerTensorflowKernels } from '../backends/tensorflow.js';
import { readInstallation, SETUP_COMMAND } from './installation.js';

/** What became of the native kernels. */
export interface OpLibrary {
  /** The instructions that they are compiled for: `'AVX-512'`, `'AVX2'` or `'SSE2'`. */
  readonly instructionSet?: string;
  /** Why they are not there. */
  readonly problem?: string;
}

/**
 * Gives backend `tensorflow`, which has to be running, this package's own kernels. Where they cannot be had the composed
 * kernels serve.
 */
export function useOpLibrary(): OpLibrary {
  const backend = findBackend('tensorflow') as unknown;
  if (!isTensorflow(backend)) {
    throw new Error("tfjs-lla/tensorflow: backend 'tensorflow' is not running; import it after @tensorflow/tfjs-node");
  }
  if (backend.isUsingGpuDevice) {
    return { problem: 'the native kernels are for the processor, and this backend computes on a GPU' };
  }
  try {
    const { ops, opsProblem, tensorflowVersion } = readInstallation();
    if (ops === undefined) {
      return { problem: opsProblem ?? `the op library is missing; run: ${SETUP_COMMAND}` };
    }
    const running = backend.binding.TF_Version;
    if (running !== tensorflowVersion) {
      return { problem: `the op library is built for TensorFlow ${tensorflowVersion}, and ${running} is running` };
    }
    // Loading the file registers its operations with the TensorFlow that is already in this process.
    const { instructionSet } = createRequire(ops)(ops) as { instructionSet: string };
    registerTensorflowKernels();
    return { instructionSet };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

/** Whether a backend of tfjs is tfjs-node's. */
export function isTensorflow(backend: unknown): backend is TensorflowBackend {
  return typeof backend === 'object' && backend !== null && 'binding' in backend && 'isUsingGpuDevice' in backend;
}
