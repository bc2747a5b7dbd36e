/**
 * Kernels for the `webgpu` backend; importing this module registers them, after the backend of its peer package.
 * `requestWebGPUDevice` sets that backend up in a browser on a device with all that the kernels can use.
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
import { linearAttentionAppendWebGpu, linearAttentionStepWebGpu } from '../../kernels/linear_attention/step_webgpu.js';
import { mesaAttentionAppendWebGpu, mesaAttentionStepWebGpu } from '../../kernels/mesa_attention/step_webgpu.js';
import { parallaxAttentionStepWebGpu } from '../../kernels/parallax_attention/step_webgpu.js';
import { softmaxAttentionStepWebGpu } from '../../kernels/softmax_attention/step_webgpu.js';
import { appendKeysWebGpu } from '../../kernels/common/webgpu/step.js';
import { layerNormalizationGradWebGpu, layerNormalizationWebGpu } from '../../kernels/layer_normalization/webgpu.js';
import { rotaryEmbeddingWebGpu } from '../../kernels/rotary_embedding/webgpu.js';
import { localLinearAttentionSpec } from '../../kernels/local_linear_attention/spec.js';
import { parallaxAttentionSpec } from '../../kernels/parallax_attention/spec.js';
import { softmaxAttentionSpec } from '../../kernels/softmax_attention/spec.js';
import { replaceKernels } from './replace_kernels.js';

export { requestWebGPUDevice } from '../webgpu/request_device.js';

const kernels: Readonly<Record<string, KernelFunc>> = {
  LocalLinearAttention: localLinearAttentionWebGpu,
  LocalLinearAttentionGrad: localLinearAttentionGradWebGpu,
  LocalLinearAttentionAppend: appendKeysWebGpu(localLinearAttentionSpec),
  LocalLinearAttentionStep: localLinearAttentionStepWebGpu,
  SoftmaxAttention: softmaxAttentionWebGpu,
  SoftmaxAttentionGrad: softmaxAttentionGradWebGpu,
  SoftmaxAttentionAppend: appendKeysWebGpu(softmaxAttentionSpec),
  SoftmaxAttentionStep: softmaxAttentionStepWebGpu,
  ParallaxAttention: parallaxAttentionWebGpu,
  ParallaxAttentionGrad: parallaxAttentionGradWebGpu,
  ParallaxAttentionAppend: appendKeysWebGpu(parallaxAttentionSpec),
  ParallaxAttentionStep: parallaxAttentionStepWebGpu,
  LinearAttention: linearAttentionWebGpu,
  LinearAttentionGrad: linearAttentionGradWebGpu,
  LinearAttentionAppend: linearAttentionAppendWebGpu,
  LinearAttentionStep: linearAttentionStepWebGpu,
  MesaAttention: mesaAttentionWebGpu,
  MesaAttentionGrad: mesaAttentionGradWebGpu,
  MesaAttentionAppend: mesaAttentionAppendWebGpu,
  MesaAttentionStep: mesaAttentionStepWebGpu,
  RotaryEmbedding: rotaryEmbeddingWebGpu,
  TokenLayerNormalization: layerNormalizationWebGpu,
  TokenLayerNormalizationGrad: layerNormalizationGradWebGpu,
};

replaceKernels('webgpu', kernels);
