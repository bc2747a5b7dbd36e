/**
 * Kernels for the `webgl` backend; importing this module registers them, after the backend of its peer package.
 *
 * @packageDocumentation
 */
import { backend, type KernelFunc } from '@tensorflow/tfjs-core';

import { appendKeysWebGl } from '../../kernels/common/webgl/texels/step.js';
import { obstacleOf } from '../../kernels/common/webgl/obstacle.js';
import {
  linearAttentionGradWebGl,
  linearAttentionStepWebGl,
  linearAttentionWebGl,
} from '../../kernels/linear_attention/webgl.js';
import { localLinearAttentionStepWebGl } from '../../kernels/local_linear_attention/step_webgl.js';
import { localLinearAttentionSpec } from '../../kernels/local_linear_attention/spec.js';
import { parallaxAttentionSpec } from '../../kernels/parallax_attention/spec.js';
import { softmaxAttentionSpec } from '../../kernels/softmax_attention/spec.js';
import {
  localLinearAttentionGradWebGl,
  localLinearAttentionWebGl,
} from '../../kernels/local_linear_attention/webgl.js';
import {
  mesaAttentionGradWebGl,
  mesaAttentionStepWebGl,
  mesaAttentionWebGl,
} from '../../kernels/mesa_attention/webgl.js';
import { parallaxAttentionStepWebGl } from '../../kernels/parallax_attention/step_webgl.js';
import { parallaxAttentionGradWebGl, parallaxAttentionWebGl } from '../../kernels/parallax_attention/webgl.js';
import { softmaxAttentionStepWebGl } from '../../kernels/softmax_attention/step_webgl.js';
import { softmaxAttentionGradWebGl, softmaxAttentionWebGl } from '../../kernels/softmax_attention/webgl.js';
import { registerObstacle } from '../registry.js';
import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  LocalLinearAttention: localLinearAttentionWebGl,
  LocalLinearAttentionGrad: localLinearAttentionGradWebGl,
  LocalLinearAttentionAppend: appendKeysWebGl(localLinearAttentionSpec),
  LocalLinearAttentionStep: localLinearAttentionStepWebGl,
  SoftmaxAttention: softmaxAttentionWebGl,
  SoftmaxAttentionGrad: softmaxAttentionGradWebGl,
  SoftmaxAttentionAppend: appendKeysWebGl(softmaxAttentionSpec),
  SoftmaxAttentionStep: softmaxAttentionStepWebGl,
  ParallaxAttention: parallaxAttentionWebGl,
  ParallaxAttentionGrad: parallaxAttentionGradWebGl,
  ParallaxAttentionAppend: appendKeysWebGl(parallaxAttentionSpec),
  ParallaxAttentionStep: parallaxAttentionStepWebGl,
  LinearAttention: linearAttentionWebGl,
  LinearAttentionGrad: linearAttentionGradWebGl,
  LinearAttentionStep: linearAttentionStepWebGl,
  MesaAttention: mesaAttentionWebGl,
  MesaAttentionGrad: mesaAttentionGradWebGl,
  MesaAttentionStep: mesaAttentionStepWebGl,
};

replaceKernels('webgl', kernels);
registerObstacle('webgl', () => obstacleOf(backend()));
