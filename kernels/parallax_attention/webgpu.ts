import type { TensorInfo } from '@tensorflow/tfjs-core';

import { WebGpuCall } from '../common/webgpu/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { probeAttention, probeAttentionGradient } from '../common/webgpu/probe_attention.js';
import { parallaxAttentionSpec } from './spec.js';

/** `out [..., Tq, Dv]` for the probe that is given as fourth input. */
export function parallaxAttentionWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(parallaxAttentionSpec, kernelCall, (call) => [probeAttention(call, true)]);
}

export function parallaxAttentionGradWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(parallaxAttentionSpec, kernelCall, (call) => {
    const { D, Dv } = call.dims;
    const slots = [
      { name: 'query', width: D },
      { name: 'dout', width: Dv },
      { name: 'probe', width: D, isNegated: true },
    ];
    return probeAttentionGradient(call, slots, 'given');
  });
}
