import type { KernelFunc } from '@tensorflow/tfjs-core';

import type { ComposedKernel } from './common/composed/call.js';
import type { ComposedContext } from './common/composed/problem.js';
import { linearAttentionComposed, linearAttentionGradComposed } from './linear_attention/composed.js';
import { localLinearAttentionComposed, localLinearAttentionGradComposed } from './local_linear_attention/composed.js';
import { mesaAttentionComposed, mesaAttentionGradComposed } from './mesa_attention/composed.js';
import { parallaxAttentionComposed, parallaxAttentionGradComposed } from './parallax_attention/composed.js';
import { softmaxAttentionComposed, softmaxAttentionGradComposed } from './softmax_attention/composed.js';

const kernels: Readonly<Record<string, ComposedKernel>> = {
  LocalLinearAttention: localLinearAttentionComposed,
  LocalLinearAttentionGrad: localLinearAttentionGradComposed,
  SoftmaxAttention: softmaxAttentionComposed,
  SoftmaxAttentionGrad: softmaxAttentionGradComposed,
  LinearAttention: linearAttentionComposed,
  LinearAttentionGrad: linearAttentionGradComposed,
  ParallaxAttention: parallaxAttentionComposed,
  ParallaxAttentionGrad: parallaxAttentionGradComposed,
  MesaAttention: mesaAttentionComposed,
  MesaAttentionGrad: mesaAttentionGradComposed,
};

/** Every operator made of tfjs operators, by kernel name, for a backend with the given properties. */
export function composedKernels(context: ComposedContext): Record<string, KernelFunc> {
  return Object.fromEntries(
    Object.entries(kernels).map(([name, kernel]) => [name, ({ inputs, attrs }) => kernel({ inputs, attrs }, context)]),
  );
}
