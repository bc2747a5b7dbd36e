/**
 * Kernels for the `webgpu` backend; importing this module registers them, after the backend of its peer package.
 *
 * @packageDocumentation
 */
import type { KernelFunc } from '@tensorflow/tfjs-core';

import {
  localLinearAttentionGradWebGpu,
  localLinearAttentionWebGpu,
} from '../../kernels/local_linear_attention/webgpu.js';
import { parallaxAttentionGradWebGpu, parallaxAttentionWebGpu } from '../../kernels/parallax_attention/webgpu.js';
import { softmaxAttentionGradWebGpu, softmaxAttentionWebGpu } from '../../kernels/softmax_attention/webgpu.js';
import { linearAttentionGradWebGpu, linearAttentionWebGpu } from '../../kernels/linear_attention/webgpu.js';
import { mesaAttentionGradWebGpu, mesaAttentionWebGpu } from '../../kernels/mesa_attention/webgpu.js';
import { localLinearAttentionStepWebGpu } from '../../kernels/local_linear_attention/step_webgpu.js';
import { linearAttentionStepWebGpu } from '../../kernels/linear_attention/step_webgpu.js';
import { mesaAttentionStepWebGpu } from '../../kernels/mesa_attention/step_webgpu.js';
import { parallaxAttentionStepWebGpu } from '../../kernels/parallax_attention/step_webgpu.js';
import { softmaxAttentionStepWebGpu } from '../../kernels/softmax_attention/step_webgpu.js';
import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  LocalLinearAttention: localLinearAttentionWebGpu,
  LocalLinearAttentionGrad: localLinearAttentionGradWebGpu,
  LocalLinearAttentionStep: localLinearAttentionStepWebGpu,
  SoftmaxAttention: softmaxAttentionWebGpu,
  SoftmaxAttentionGrad: softmaxAttentionGradWebGpu,
  SoftmaxAttentionStep: softmaxAttentionStepWebGpu,
  ParallaxAttention: parallaxAttentionWebGpu,
  ParallaxAttentionGrad: parallaxAttentionGradWebGpu,
  ParallaxAttentionStep: parallaxAttentionStepWebGpu,
  LinearAttention: linearAttentionWebGpu,
  LinearAttentionGrad: linearAttentionGradWebGpu,
  LinearAttentionStep: linearAttentionStepWebGpu,
  MesaAttention: mesaAttentionWebGpu,
  MesaAttentionGrad: mesaAttentionGradWebGpu,
  MesaAttentionStep: mesaAttentionStepWebGpu,
};

replaceKernels('webgpu', kernels);
