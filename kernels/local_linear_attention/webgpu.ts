import type { TensorInfo } from '@tensorflow/tfjs-core';

import { type KernelCall, type Output, WebGpuCall } from '../common/webgpu/call.js';
import { forPrepared } from '../common/webgpu/prepared.js';
import { attentionShape, logScale } from '../common/webgpu/probe_attention.js';
import { rowLayout } from '../common/webgpu/row_layout.js';
import { progressBytes, reportProgress, scheduleOf, smallRidgeOf, solverUniforms } from '../common/webgpu/solver.js';
import { directForwardShader, directRegion, ROWS_PER_BLOCK } from './direct.wgsl.js';
import { localLinearAttentionShader } from './forward.wgsl.js';
import { type LocalLinearAttentionAttrs, localLinearAttentionSpec } from './spec.js';

/** Workgroups of the direct solver, each with a factor of its own; most have nothing to do. */
const DIRECT_WORKGROUPS = 1056;

/** `out [..., Tq, Dv]` and `probe [..., Tq, D]`. */
function forward(call: WebGpuCall<LocalLinearAttentionAttrs>): Output[] {
  const { attrs, dims, device } = call;
  const { D, Tq, Tk } = dims;
  const shape = attentionShape(call, Math.max(dims.D, dims.Dv));
  const query = { name: 'query', width: D };
  const layout = rowLayout([query, { ...query, isCentred: true }]);
  const out = call.output(call.resultShape);
  const probe = call.output(call.tensor('query').shape);
  const preparation = { layout, isCentred: true, ridge: attrs.ridge, smallRidge: smallRidgeOf(attrs) };
  forPrepared(call, preparation, ({ heads, Tqp, buffers, params }) => {
    const schedule = scheduleOf(device, shape.tile, shape.Dp, heads, Tq, Tk);
    const progress = call.scratch(progressBytes(heads, Tqp));
    call.clear(progress);
    const bound = { ...buffers, out: out.buffer, probe: probe.buffer, progress };
    const work = call.work(16 * schedule.workgroups * schedule.regionQuads);
    call.run(
      localLinearAttentionShader(shape, layout, schedule.isKept),
      { ...bound, work },
      { ...params, logScale: logScale(call), ...solverUniforms(attrs, schedule) },
      [schedule.workgroups],
    );
    reportProgress(call, progress);
    if (attrs.solver === 'conjugateGradient') return;
    const rowBlocks = (heads * Tqp) / ROWS_PER_BLOCK;
    const workgroups = Math.min(DIRECT_WORKGROUPS, rowBlocks);
    const region = 4 * workgroups * directRegion(D);
    call.run(
      directForwardShader(shape, layout),
      { ...bound, ...(region > 0 && { work: call.work(region) }) },
      { ...params, logScale: logScale(call), rowBlocks, workgroups },
      [workgroups],
    );
  });
  return [out, probe];
}

export function localLinearAttentionWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(localLinearAttentionSpec, kernelCall, forward);
}
