import { backend as activeBackend } from '@tensorflow/tfjs-core';
import { cpus } from 'node:os';

import type { CudaDevice } from './device_code.js';
import { isTensorflow, type OpLibrary, usedOpLibrary } from './op_library.js';
import { missingGpuParts } from './gpu.js';
import { readInstallation } from './installation.js';

/** What the running backend `tensorflow` computes with, and on which kernels of this package. */
export async function tensorflowAdapter(): Promise<string> {
  const library = usedOpLibrary();
  const backend: unknown = activeBackend();
  if (!isTensorflow(backend)) throw new Error("backend 'tensorflow' is not the current one");
  const { binding, isUsingGpuDevice } = backend;
  const device = isUsingGpuDevice ? describeDevice(library.device) : (cpus().at(0)?.model.trim() ?? process.arch);
  const withoutGpu = isUsingGpuDevice ? '' : await gpuLeftOut();
  return `TensorFlow ${binding.TF_Version} on ${device}, ${describeKernels(library)}${withoutGpu}`;
}

function describeDevice(device: CudaDevice | undefined): string {
  if (device === undefined) return 'a GPU';
  const { name, major, minor, driver } = device;
  const cuda = `${Math.floor(driver / 1000)}.${Math.floor((driver % 1000) / 10)}`;
  return `${name} (compute capability ${major}.${minor}, driver of CUDA ${cuda})`;
}

function describeKernels({ instructionSet, cuda, problem }: OpLibrary): string {
  if (problem !== undefined) return `composed kernels, since ${problem}`;
  if (cuda === undefined) return `native kernels with ${instructionSet ?? ''}`;
  return `CUDA kernels (${cuda.architecture}) of ${cuda.operations.join(', ')}, composed ones for the rest`;
}

/** What to say of a GPU that TensorFlow could use and does not. */
async function gpuLeftOut(): Promise<string> {
  try {
    const { gpu, addon } = readInstallation();
    return gpu ? `; no GPU, ${await missingGpuParts(addon)}` : '';
  } catch {
    // Another TensorFlow than the set-up's is running.
    return '';
  }
}
