import type { KernelFunc } from '@tensorflow/tfjs-core';

import { linearAttentionGradWebGpu, linearAttentionWebGpu } from '../../kernels/linear_attention/webgpu.js';
import { mesaAttentionGradWebGpu, mesaAttentionWebGpu } from '../../kernels/mesa_attention/webgpu.js';
import { parallaxAttentionWebGpu } from '../../kernels/parallax_attention/webgpu.js';
import { softmaxAttentionWebGpu } from '../../kernels/softmax_attention/webgpu.js';
import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  SoftmaxAttention: softmaxAttentionWebGpu,
  ParallaxAttention: parallaxAttentionWebGpu,
  LinearAttention: linearAttentionWebGpu,
  LinearAttentionGrad: linearAttentionGradWebGpu,
  MesaAttention: mesaAttentionWebGpu,
  MesaAttentionGrad: mesaAttentionGradWebGpu,
};

replaceKernels('webgpu', kernels);
