import type { TensorInfo } from '@tensorflow/tfjs-core';

import { type Binding, type Output, WebGpuCall } from '../common/webgpu/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { gradientRowsShader } from '../common/webgpu/gradient_rows.wgsl.js';
import { forPrepared, type Prepared } from '../common/webgpu/prepared.js';
import {
  attentionShape,
  clearedFlags,
  type GradientPass,
  logScale,
  matrixShape,
  probeAttentionGradient,
} from '../common/webgpu/probe_attention.js';
import type { AttentionShape } from '../common/webgpu/probe_attention.wgsl.js';
import { rowLayout } from '../common/webgpu/row_layout.js';
import type { Shader } from '../common/webgpu/shader.js';
import { progressBytes, reportProgress, scheduleOf, smallRidgeOf, solverUniforms } from '../common/webgpu/solver.js';
import { blockRowsOf } from '../common/webgpu/tile.wgsl.js';
import { directForwardShader, directGradientShader, ROWS_PER_BLOCK } from './direct.wgsl.js';
import { directRegion } from './direct_row.wgsl.js';
import { localLinearAttentionShader } from './forward.wgsl.js';
import { ridgeGradientShader } from './ridge_gradient.wgsl.js';
import { type LocalLinearAttentionAttrs, localLinearAttentionSpec } from './spec.js';

/** Workgroups of the direct solver, each with a factor of its own; most have nothing to do. */
const DIRECT_WORKGROUPS = 1056;

type Call = WebGpuCall<LocalLinearAttentionAttrs>;
type Buffers = Readonly<Record<string, Binding>>;
type Params = Readonly<Record<string, number>>;

/** Solves directly the rows that `buffers.progress` flags. */
function solveMissed(call: Call, shader: Shader, prepared: Prepared, buffers: Buffers, params: Params): void {
  if (call.attrs.solver === 'conjugateGradient') return;
  const rowBlocks = (prepared.heads * prepared.Tqp) / ROWS_PER_BLOCK;
  const workgroups = Math.min(DIRECT_WORKGROUPS, rowBlocks);
  const region = 4 * workgroups * directRegion(call.dims.D);
  const bound = { ...buffers, ...(region > 0 && { work: call.work(region) }) };
  call.run(shader, bound, { ...params, rowBlocks, workgroups }, [workgroups]);
}

/** `out [..., Tq, Dv]` and `probe [..., Tq, D]`. */
function forward(call: Call): Output[] {
  const { attrs, dims, device } = call;
  const { D, Tq } = dims;
  const byMatrices = matrixShape(call, 'keptWeights');
  const shape = attentionShape(call, Math.max(dims.D, dims.Dv), 'keptWeights', byMatrices !== undefined);
  const query = { name: 'query', width: D };
  const layout = rowLayout([query, { ...query, isCentred: true }], { hasUnits: byMatrices !== undefined });
  const out = call.output(call.resultShape);
  const probe = call.output(call.tensor('query').shape);
  const preparation = {
    layout,
    isCentred: true,
    ridge: attrs.ridge,
    smallRidge: smallRidgeOf(attrs),
  };
  forPrepared(call, preparation, (prepared) => {
    const { heads, Tqp, Tkp } = prepared;
    const progress = call.scratch(progressBytes(heads, Tqp));
    call.clear(progress);
    const buffers = { ...prepared.buffers, out: out.buffer, probe: probe.buffer, progress };
    const params = { ...prepared.params, scale: attrs.scale, logScale: logScale(call) };
    const run = (of: AttentionShape, bound: Buffers): void => {
      const rowTiles = Math.ceil(Tq / blockRowsOf(of.tile));
      const schedule = scheduleOf(device, of.tile, of.Dp, heads, rowTiles, Tkp);
      call.run(
        localLinearAttentionShader(of, layout, schedule.isKept),
        { ...bound, work: call.work(16 * schedule.workgroups * schedule.regionQuads) },
        { ...params, ...solverUniforms(attrs, schedule) },
        [schedule.workgroups],
      );
    };
    let bound: Buffers = buffers;
    if (byMatrices !== undefined) {
      const flags = clearedFlags(call, prepared);
      run(byMatrices, { ...buffers, flags });
      bound = { ...buffers, ...prepared.prepareFlagged(flags), flags };
    }
    run(shape, bound);
    reportProgress(call, progress);
    solveMissed(call, directForwardShader(shape, layout, D), prepared, bound, params);
  });
  return [out, probe];
}

/** The part of the gradient that belongs to queries: the second solve, dq and the rows' terms. */
function gradientRows(call: Call, pass: GradientPass, dridge?: Output): void {
  const { prepared, layout, shape, byMatrices, prepareFlagged, buffers, params } = pass;
  const { attrs, device, dims } = call;
  const { heads, Tqp, Tkp } = prepared;
  const progress = call.scratch(progressBytes(heads, Tqp));
  call.clear(progress);
  const run = (of: AttentionShape, bound: Buffers): void => {
    const schedule = scheduleOf(device, of.tile, of.Dp, heads, Tqp / blockRowsOf(of.tile), Tkp, 'gradientRows');
    call.run(
      gradientRowsShader(of, layout, 'solved', schedule.isKept),
      { ...bound, work: call.work(16 * schedule.workgroups * schedule.regionQuads) },
      { ...params, ...solverUniforms(attrs, schedule) },
      [schedule.workgroups],
    );
  };
  const common = { ...buffers, progress };
  if (byMatrices) run(byMatrices, common);
  const bound = { ...common, ...prepareFlagged() };
  run(shape, bound);
  reportProgress(call, progress);
  solveMissed(call, directGradientShader(shape, layout, dims.D), prepared, bound, params);
  if (dridge) call.run(ridgeGradientShader(layout), buffers, params, [Tqp / 64, heads]);
}

function gradient(call: Call): readonly (Output | undefined)[] {
  const { attrs, dims } = call;
  const { D, Dv } = dims;
  const slots = [
    { name: 'query', width: D },
    { name: 'dout', width: Dv },
    { name: 'probe', width: D },
  ];
  const preparation = { ridge: attrs.ridge, smallRidge: smallRidgeOf(attrs) };
  return probeAttentionGradient(call, slots, 'solved', preparation, (pass, { ridge }) => {
    gradientRows(call, pass, ridge);
  });
}

export function localLinearAttentionWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(localLinearAttentionSpec, kernelCall, forward);
}

export function localLinearAttentionGradWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return WebGpuCall.run(localLinearAttentionSpec, kernelCall, gradient);
}
