/**
 * Kernels for the `webgl` backend; importing this module registers them, after the backend of its peer package.
 *
 * @packageDocumentation
 */
import { backend, type KernelFunc } from '@tensorflow/tfjs-core';

import { obstacleOf } from '../../kernels/common/webgl/obstacle.js';
import {
  localLinearAttentionGradWebGl,
  localLinearAttentionWebGl,
} from '../../kernels/local_linear_attention/webgl.js';
import { parallaxAttentionGradWebGl, parallaxAttentionWebGl } from '../../kernels/parallax_attention/webgl.js';
import { softmaxAttentionGradWebGl, softmaxAttentionWebGl } from '../../kernels/softmax_attention/webgl.js';
import { registerObstacle } from '../registry.js';
import { replaceKernels } from './replace_kernels.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  LocalLinearAttention: localLinearAttentionWebGl,
  LocalLinearAttentionGrad: localLinearAttentionGradWebGl,
  SoftmaxAttention: softmaxAttentionWebGl,
  SoftmaxAttentionGrad: softmaxAttentionGradWebGl,
  ParallaxAttention: parallaxAttentionWebGl,
  ParallaxAttentionGrad: parallaxAttentionGradWebGl,
};

replaceKernels('webgl', kernels);
registerObstacle('webgl', () => obstacleOf(backend()));
