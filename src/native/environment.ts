/**
 * What TensorFlow reads when it is loaded: no chatter, no more GPU memory than it needs, and products of float32 matrices in
 * float32, as on every other backend of tfjs, where a GPU would take TF32 (10 bits of mantissa).
 */
export const TENSORFLOW_ENVIRONMENT: Readonly<Record<string, string>> = {
  TF_CPP_MIN_LOG_LEVEL: '2',
  TF_FORCE_GPU_ALLOW_GROWTH: 'true',
  NVIDIA_TF32_OVERRIDE: '0',
};
