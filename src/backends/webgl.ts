/**
 * Kernels for the `webgl` backend; importing this module registers them, after the backend of its peer package.
 *
 * @packageDocumentation
 */
import type { KernelFunc } from '@tensorflow/tfjs-core';

import { linearAttentionGradWebGl, linearAttentionWebGl } from '../../kernels/linear_attention/webgl.js';
import { mesaAttentionGradWebGl, mesaAttentionWebGl } from '../../kernels/mesa_attention/webgl.js';
import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  LinearAttention: linearAttentionWebGl,
  LinearAttentionGrad: linearAttentionGradWebGl,
  MesaAttention: mesaAttentionWebGl,
  MesaAttentionGrad: mesaAttentionGradWebGl,
};

replaceKernels('webgl', kernels);
