import type { TensorInfo } from '@tensorflow/tfjs-core';

import { type KernelCall, WebGpuCall } from '../common/webgpu/call.js';
import { probeAttention } from '../common/webgpu/probe_attention.js';
import { parallaxAttentionSpec } from './spec.js';

/** `out [..., Tq, Dv]` for the probe that is given as fourth input. */
export function parallaxAttentionWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(parallaxAttentionSpec, kernelCall, (call) => [probeAttention(call, true)]);
}
