import type { TensorInfo } from '@tensorflow/tfjs-core';

import { WebGlCall } from '../common/webgl/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { probeAttention } from '../common/webgl/probe_attention.js';
import { probeAttentionGradient } from '../common/webgl/probe_gradient.js';
import { softmaxAttentionSpec } from './spec.js';

/** `out [..., Tq, Dv]` */
export function softmaxAttentionWebGl(kernelCall: KernelCall): TensorInfo[] {
  return WebGlCall.run(softmaxAttentionSpec, kernelCall, (call) => {
    const out = call.output(call.resultShape);
    probeAttention(call, out);
    return [out];
  });
}

export function softmaxAttentionGradWebGl(kernelCall: KernelCall): TensorInfo[] {
  return WebGlCall.run(softmaxAttentionSpec, kernelCall, (call) => probeAttentionGradient(call));
}
