import type { TensorInfo } from '@tensorflow/tfjs-core';

import { blockSizes, headGroups, rowBlocks } from '../common/webgl/blocks.js';
import { type KernelCall, WebGlCall } from '../common/webgl/call.js';
import { keyColumnsOf, prepareKeys, releaseKeys } from '../common/webgl/keys.js';
import { Rows } from '../common/webgl/rows.js';
import { softmaxAttentionSpec } from './spec.js';

/** `out [..., Tq, Dv]` */
export function softmaxAttentionWebGl(kernelCall: KernelCall): TensorInfo[] {
  return WebGlCall.run(softmaxAttentionSpec, kernelCall, (call) => {
    const { dims, attrs } = call;
    const out = call.output(call.resultShape);
    const sizes = blockSizes(dims, { weights: 2, keyColumns: keyColumnsOf(dims.D, dims.Dv) }, call.device.maxSize);
    for (const group of headGroups(dims, sizes)) {
      const keys = prepareKeys(call, group);
      for (const block of rowBlocks(dims, attrs.causal, sizes, group)) {
        const rows = new Rows(call, keys, block);
        rows.store(rows.weightedSum(rows.weights, keys.value), out, dims.Dv);
        rows.release();
      }
      releaseKeys(call, keys);
    }
    return [out];
  });
}
