import type { KernelFunc } from '@tensorflow/tfjs-core';

import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {};

replaceKernels('webgpu', kernels);
