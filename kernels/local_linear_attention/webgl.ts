import type { TensorInfo } from '@tensorflow/tfjs-core';

import { WebGlCall } from '../common/webgl/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { probeAttention } from '../common/webgl/probe_attention.js';
import { probeAttentionGradient } from '../common/webgl/probe_gradient.js';
import { rightSideShader } from '../common/webgl/solve.glsl.js';
import { solve } from '../common/webgl/solve.js';
import { localLinearAttentionSpec } from './spec.js';

/** `out [..., Tq, Dv]` and `probe [..., Tq, D]`. */
export function localLinearAttentionWebGl(kernelCall: KernelCall): TensorInfo[] {
  return WebGlCall.run(localLinearAttentionSpec, kernelCall, (call) => {
    const { D } = call.dims;
    const out = call.output(call.resultShape);
    const probe = call.output(call.tensor('query').shape);
    probeAttention(call, out, {
      ridge: call.attrs.ridge,
      out: probe,
      find({ rows, kbar, scratch }) {
        const { keys, params } = rows;
        const query = rows.tensorRows('query', keys.width);
        const right = rows.image(keys.width);
        const images = { query, kbar, centre: keys.centre, rowStats: rows.stats };
        call.run(rightSideShader, images, { ...params, D }, right);
        rows.give(query);
        return solve(rows, { right, kbar, scratch }, call.attrs);
      },
    });
    return [out, probe];
  });
}

export function localLinearAttentionGradWebGl(kernelCall: KernelCall): TensorInfo[] {
  return WebGlCall.run(localLinearAttentionSpec, kernelCall, (call) =>
    probeAttentionGradient(call, {
      ridge: call.attrs.ridge,
      find: ({ rows }) => rows.tensorRows('probe', rows.keys.width),
      solveAdjoint: ({ rows, kbar, scratch }, right) => solve(rows, { right, kbar, scratch }, call.attrs),
    }),
  );
}
