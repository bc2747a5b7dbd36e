import type { OperatorSpec } from '../kernels/common/spec.js';
import { linearAttentionSpec } from '../kernels/linear_attention/spec.js';
import { localLinearAttentionSpec } from '../kernels/local_linear_attention/spec.js';
import { mesaAttentionSpec } from '../kernels/mesa_attention/spec.js';
import { parallaxAttentionSpec } from '../kernels/parallax_attention/spec.js';
import { softmaxAttentionSpec } from '../kernels/softmax_attention/spec.js';

/** Every operator of the package. */
export const operatorSpecs: readonly OperatorSpec[] = [
  localLinearAttentionSpec,
  softmaxAttentionSpec,
  linearAttentionSpec,
  parallaxAttentionSpec,
  mesaAttentionSpec,
];
