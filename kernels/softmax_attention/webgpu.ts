import type { TensorInfo } from '@tensorflow/tfjs-core';

import { WebGpuCall } from '../common/webgpu/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { probeAttention, probeAttentionGradient } from '../common/webgpu/probe_attention.js';
import { softmaxAttentionSpec } from './spec.js';

/** `out [..., Tq, Dv]`: the probe is zero. */
export function softmaxAttentionWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(softmaxAttentionSpec, kernelCall, (call) => [probeAttention(call, false)]);
}

export function softmaxAttentionGradWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(softmaxAttentionSpec, kernelCall, (call) => {
    const { D, Dv } = call.dims;
    const slots = [
      { name: 'query', width: D },
      { name: 'dout', width: Dv },
    ];
    return probeAttentionGradient(call, slots, 'none');
  });
}
