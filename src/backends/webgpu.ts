/**
 * Kernels for the `webgpu` backend; importing this module registers them, after the backend of its peer package.
 *
 * @packageDocumentation
 */
import type { KernelFunc } from '@tensorflow/tfjs-core';

import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {};

replaceKernels('webgpu', kernels);
