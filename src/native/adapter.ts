import { backend as activeBackend } from '@tensorflow/tfjs-core';
import { cpus } from 'node:os';

import { isTensorflow, type OpLibrary } from './op_library.js';
import { missingGpuParts } from './gpu.js';
import { readInstallation } from './installation.js';

/** What the running backend `tensorflow` computes with, and on which kernels of this package. */
export async function tensorflowAdapter({ instructionSet, problem }: OpLibrary): Promise<string> {
  const backend: unknown = activeBackend();
  if (!isTensorflow(backend)) throw new Error("backend 'tensorflow' is not the current one");
  const { binding, isUsingGpuDevice } = backend;
  const device = isUsingGpuDevice ? 'a GPU' : (cpus().at(0)?.model.trim() ?? process.arch);
  const kernels =
    problem === undefined ? `native kernels with ${instructionSet ?? ''}` : `composed kernels, since ${problem}`;
  const withoutGpu = isUsingGpuDevice ? '' : await gpuLeftOut();
  return `TensorFlow ${binding.TF_Version} on ${device}, ${kernels}${withoutGpu}`;
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
