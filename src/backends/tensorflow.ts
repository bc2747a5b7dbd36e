import { linearAttentionTensorflow } from '../../kernels/linear_attention/tensorflow.js';
import { localLinearAttentionTensorflow } from '../../kernels/local_linear_attention/tensorflow.js';
import { mesaAttentionTensorflow } from '../../kernels/mesa_attention/tensorflow.js';
import { parallaxAttentionTensorflow } from '../../kernels/parallax_attention/tensorflow.js';
import { softmaxAttentionTensorflow } from '../../kernels/softmax_attention/tensorflow.js';
import { replaceKernels } from './replace_kernels.js';

const kernels = {
  LocalLinearAttention: localLinearAttentionTensorflow,
  SoftmaxAttention: softmaxAttentionTensorflow,
  ParallaxAttention: parallaxAttentionTensorflow,
  LinearAttention: linearAttentionTensorflow,
  MesaAttention: mesaAttentionTensorflow,
};

/** Registers the native kernels of backend `tensorflow`. The op library has to be loaded by then. */
export function registerTensorflowKernels(): void {
  for (const [name, { forward, gradient }] of Object.entries(kernels)) {
    replaceKernels('tensorflow', { [name]: forward, [`${name}Grad`]: gradient });
  }
}
