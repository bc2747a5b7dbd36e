import type { TensorInfo } from '@tensorflow/tfjs-core';

import { type KernelCall, WebGpuCall } from '../common/webgpu/call.js';
import { probeAttention } from '../common/webgpu/probe_attention.js';
import { softmaxAttentionSpec } from './spec.js';

/** `out [..., Tq, Dv]`: the probe is zero. */
export function softmaxAttentionWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(softmaxAttentionSpec, kernelCall, (call) => [probeAttention(call, false)]);
}
