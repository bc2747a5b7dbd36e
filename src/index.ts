/**
 * The operators, `attentionWeights`, and `attentionCache` for decoding. Importing this module registers their kernels for the `cpu` backend; every other
 * backend without kernels of its own gets composed ones.
 *
 * @packageDocumentation
 */
import './backends/cpu.js';

export { attentionCache } from './caches/index.js';
export { AttentionCache } from './caches/attention_cache.js';
export type { AttentionCacheOptions, CacheOptions, CacheStepOptions, ConstantOptions } from './caches/operators.js';
export { attentionWeights, type AttentionWeightsOptions, type OperatorName } from './ops/attention_weights.js';
export { linearAttention, type LinearAttentionOptions } from './ops/linear_attention.js';
export { localLinearAttention, type LocalLinearAttentionOptions } from './ops/local_linear_attention.js';
export { mesaAttention, type MesaAttentionOptions } from './ops/mesa_attention.js';
export { parallaxAttention, type ParallaxAttentionOptions } from './ops/parallax_attention.js';
export { softmaxAttention, type SoftmaxAttentionOptions } from './ops/softmax_attention.js';
export type { Precision } from '../kernels/common/spec.js';
export type { FeatureMap } from '../kernels/linear_attention/spec.js';
export type { Solver } from '../kernels/local_linear_attention/spec.js';
