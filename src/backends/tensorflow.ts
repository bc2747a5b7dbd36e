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

/**
 * Registers the native kernels of backend `tensorflow`: those of the operations named, or all. The op library has to be
 * loaded by then.
 */
export function registerTensorflowKernels(operations?: readonly string[]): void {
  for (const [name, { forward, gradient, step }] of Object.entries(kernels)) {
    const all = { [name]: forward, [`${name}Grad`]: gradient, [`${name}Step`]: step };
    const named = Object.entries(all).filter(([operation]) => operations?.includes(operation) ?? true);
    replaceKernels('tensorflow', Object.fromEntries(named));
  }
}
