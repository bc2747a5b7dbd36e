/**
 * Kernels for the `webgl` backend; importing this module registers them, after the backend of its peer package.
 *
 * @packageDocumentation
 */
import type { KernelFunc } from '@tensorflow/tfjs-core';

import { softmaxAttentionWebGl } from '../../kernels/softmax_attention/webgl.js';
import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  SoftmaxAttention: softmaxAttentionWebGl,
};

replaceKernels('webgl', kernels);
