import type { TensorInfo } from '@tensorflow/tfjs-core';

import { WebGlCall } from '../common/webgl/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { probeAttention } from '../common/webgl/probe_attention.js';
import { probeAttentionGradient } from '../common/webgl/probe_gradient.js';
import type { Rows } from '../common/webgl/rows.js';
import { parallaxAttentionSpec } from './spec.js';

/** `x = -r` for the fourth input `r`. */
const givenProbe = (rows: Rows) => rows.tensorRows('probe', rows.keys.width, -1);

/** `out [..., Tq, Dv]` */
export function parallaxAttentionWebGl(kernelCall: KernelCall): TensorInfo[] {
  return WebGlCall.run(parallaxAttentionSpec, kernelCall, (call) => {
    const out = call.output(call.resultShape);
    probeAttention(call, out, { find: ({ rows }) => givenProbe(rows) });
    return [out];
  });
}

export function parallaxAttentionGradWebGl(kernelCall: KernelCall): TensorInfo[] {
  return WebGlCall.run(parallaxAttentionSpec, kernelCall, (call) =>
    probeAttentionGradient(call, { find: ({ rows }) => givenProbe(rows), probeFactor: -1 }),
  );
}
