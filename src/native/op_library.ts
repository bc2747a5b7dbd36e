/** The library of this package's TensorFlow operations, and the kernels that call them. */
import { createRequire } from 'node:module';
import { findBackend } from '@tensorflow/tfjs-core';

import type { TensorflowBackend } from '../../kernels/common/tensorflow/call.js';
import { registerTensorflowKernels } from '../backends/tensorflow.js';
import { type CudaDevice, deviceCodeFor } from './device_code.js';
import { type Installation, readInstallation, SETUP_COMMAND } from './installation.js';

/** What the library exports (`kernels/common/native/module_op.cc`). */
interface Exports {
  readonly instructionSet: string;
  cudaDevice(): CudaDevice;
  loadDeviceCode(...files: string[]): string[];
  startKernelTimes(): void;
  takeKernelTimes(): KernelTime[];
}

/** What one CUDA kernel took on the GPU. */
export interface KernelTime {
  readonly kernel: string;
  readonly milliseconds: number;
}

/** This package's kernels on a GPU. */
export interface CudaKernels {
  /** What the device code is compiled for. */
  readonly architecture: string;
  /** The operations that have CUDA kernels; composed kernels serve for the others. */
  readonly operations: readonly string[];
  /** Times every CUDA kernel that `work` starts, in order; waits for them. For measurements. */
  readonly time: (work: () => void) => readonly KernelTime[];
}

/** What became of the native kernels. */
export interface OpLibrary {
  /** The instructions that they are compiled for: `'AVX-512'`, `'AVX2'` or `'SSE2'`; absent on a GPU. */
  readonly instructionSet?: string;
  /** The GPU that TensorFlow computes on, where the library could be asked. */
  readonly device?: CudaDevice;
  readonly cuda?: CudaKernels;
  /** Why they are not there. */
  readonly problem?: string;
}

let used: OpLibrary = { problem: 'they were not asked for' };

/** What became of the native kernels when they were asked for. */
export function usedOpLibrary(): OpLibrary {
  return used;
}

/**
 * Gives backend `tensorflow`, which has to be running, this package's own kernels. Where they cannot be had the composed
 * kernels serve.
 */
export function useOpLibrary(): OpLibrary {
  used = registerNativeKernels();
  return used;
}

function registerNativeKernels(): OpLibrary {
  const backend = findBackend('tensorflow') as unknown;
  if (!isTensorflow(backend)) {
    throw new Error("tfjs-lla/tensorflow: backend 'tensorflow' is not running; import it after @tensorflow/tfjs-node");
  }
  let device: CudaDevice | undefined;
  try {
    const installation = readInstallation();
    const { ops, opsProblem, tensorflowVersion } = installation;
    if (ops === undefined) {
      return { problem: opsProblem ?? `the op library is missing; run: ${SETUP_COMMAND}` };
    }
    const running = backend.binding.TF_Version;
    if (running !== tensorflowVersion) {
      return { problem: `the op library is built for TensorFlow ${tensorflowVersion}, and ${running} is running` };
    }
    // Loading the file registers its operations with the TensorFlow that is already in this process.
    const library = createRequire(ops)(ops) as Exports;
    if (backend.isUsingGpuDevice) {
      device = library.cudaDevice();
      return { device, ...useCuda(library, device, installation) };
    }
    registerTensorflowKernels();
    return { instructionSet: library.instructionSet };
  } catch (error) {
    return { device, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** Registers the kernels that have device code for this GPU. */
function useCuda(library: Exports, device: CudaDevice, { cuda, cudaProblem }: Installation): OpLibrary {
  const again = `run: ${SETUP_COMMAND} --gpu`;
  if (cuda === undefined) return { problem: cudaProblem ?? `the CUDA kernels are not compiled; ${again}` };
  const code = deviceCodeFor(cuda, device);
  if (code === undefined) {
    const made = cuda.map(({ architecture }) => architecture).join(', ');
    const needed = `${device.name} of compute capability ${device.major}.${device.minor}`;
    return { problem: `the CUDA kernels are compiled for ${made}, not for this ${needed}; ${again}` };
  }
  const operations = library.loadDeviceCode(...code.files);
  if (operations.length === 0) return { problem: 'the device code has no kernel of this version' };
  registerTensorflowKernels(operations);
  const time = (work: () => void): readonly KernelTime[] => {
    library.startKernelTimes();
    let times: readonly KernelTime[] = [];
    try {
      work();
    } finally {
      times = library.takeKernelTimes();
    }
    return times;
  };
  return { cuda: { architecture: code.architecture, operations, time } };
}

/** Whether a backend of tfjs is tfjs-node's. */
export function isTensorflow(backend: unknown): backend is TensorflowBackend {
  return typeof backend === 'object' && backend !== null && 'binding' in backend && 'isUsingGpuDevice' in backend;
}
