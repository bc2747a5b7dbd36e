import type { KernelFunc } from '@tensorflow/tfjs-core';

import { linearAttentionCpu, linearAttentionGradCpu } from '../../kernels/linear_attention/cpu.js';
import { localLinearAttentionCpu, localLinearAttentionGradCpu } from '../../kernels/local_linear_attention/cpu.js';
import { mesaAttentionCpu, mesaAttentionGradCpu } from '../../kernels/mesa_attention/cpu.js';
import { parallaxAttentionCpu, parallaxAttentionGradCpu } from '../../kernels/parallax_attention/cpu.js';
import { softmaxAttentionCpu, softmaxAttentionGradCpu } from '../../kernels/softmax_attention/cpu.js';
import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  LocalLinearAttention: localLinearAttentionCpu,
  LocalLinearAttentionGrad: localLinearAttentionGradCpu,
  SoftmaxAttention: softmaxAttentionCpu,
  SoftmaxAttentionGrad: softmaxAttentionGradCpu,
  LinearAttention: linearAttentionCpu,
  LinearAttentionGrad: linearAttentionGradCpu,
  ParallaxAttention: parallaxAttentionCpu,
  ParallaxAttentionGrad: parallaxAttentionGradCpu,
  MesaAttention: mesaAttentionCpu,
  MesaAttentionGrad: mesaAttentionGradCpu,
};

replaceKernels('cpu', kernels);
