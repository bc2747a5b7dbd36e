import type { KernelFunc } from '@tensorflow/tfjs-core';

import { linearAttentionCpu, linearAttentionGradCpu } from '../../kernels/linear_attention/cpu.js';
import { localLinearAttentionCpu, localLinearAttentionGradCpu } from '../../kernels/local_linear_attention/cpu.js';
import { mesaAttentionCpu, mesaAttentionGradCpu } from '../../kernels/mesa_attention/cpu.js';
import { parallaxAttentionCpu, parallaxAttentionGradCpu } from '../../kernels/parallax_attention/cpu.js';
import { softmaxAttentionCpu, softmaxAttentionGradCpu } from '../../kernels/softmax_attention/cpu.js';
import { linearAttentionStepCpu } from '../../kernels/linear_attention/step_cpu.js';
import { localLinearAttentionStepCpu } from '../../kernels/local_linear_attention/step_cpu.js';
import { mesaAttentionStepCpu } from '../../kernels/mesa_attention/step_cpu.js';
import { parallaxAttentionStepCpu } from '../../kernels/parallax_attention/step_cpu.js';
import { softmaxAttentionStepCpu } from '../../kernels/softmax_attention/step_cpu.js';
import { appendKeysCpu } from '../../kernels/common/cpu/step_rows.js';
import { localLinearAttentionSpec } from '../../kernels/local_linear_attention/spec.js';
import { parallaxAttentionSpec } from '../../kernels/parallax_attention/spec.js';
import { softmaxAttentionSpec } from '../../kernels/softmax_attention/spec.js';
import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  LocalLinearAttention: localLinearAttentionCpu,
  LocalLinearAttentionGrad: localLinearAttentionGradCpu,
  LocalLinearAttentionAppend: appendKeysCpu(localLinearAttentionSpec),
  LocalLinearAttentionStep: localLinearAttentionStepCpu,
  SoftmaxAttention: softmaxAttentionCpu,
  SoftmaxAttentionGrad: softmaxAttentionGradCpu,
  SoftmaxAttentionAppend: appendKeysCpu(softmaxAttentionSpec),
  SoftmaxAttentionStep: softmaxAttentionStepCpu,
  LinearAttention: linearAttentionCpu,
  LinearAttentionGrad: linearAttentionGradCpu,
  LinearAttentionStep: linearAttentionStepCpu,
  ParallaxAttention: parallaxAttentionCpu,
  ParallaxAttentionGrad: parallaxAttentionGradCpu,
  ParallaxAttentionAppend: appendKeysCpu(parallaxAttentionSpec),
  ParallaxAttentionStep: parallaxAttentionStepCpu,
  MesaAttention: mesaAttentionCpu,
  MesaAttentionGrad: mesaAttentionGradCpu,
  MesaAttentionStep: mesaAttentionStepCpu,
};

replaceKernels('cpu', kernels);
