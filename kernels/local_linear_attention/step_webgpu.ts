import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { KernelCall, Output, WebGpuCall } from '../common/webgpu/call.js';
import { logScale } from '../common/webgpu/probe_attention.js';
import type { StepAttrs } from '../common/step_parts.js';
import { appendRows, centreFloats, keyRanges, runStep, stepParts } from '../common/webgpu/step.js';
import { type LocalLinearAttentionAttrs, localLinearAttentionSpec } from './spec.js';
import { statisticsLayout, statisticsShader, TURN_KEYS } from './step.wgsl.js';
import { factorRegion, stepFactor, stepSolveShader } from './step_solve.wgsl.js';

type Call = WebGpuCall<LocalLinearAttentionAttrs & StepAttrs>;

/** Workgroups that keep a large device busy: four a core of 132. */
const WORKGROUPS = 528;

/** Fewest keys of a range: below this, joining the ranges costs more than they save. */
const LEAST_KEYS = 64;

/** Bytes of statistics that one range of keys may take: rows beyond come one after another. */
const MOST_BYTES = 64 * 2 ** 20;

/** Append, statistics of every row over ranges of keys, one solve a row. */
function step(call: Call): Output[] {
  const { D, Dv, heads, Tq } = call.dims;
  const { attrs, device } = call;
  const out = call.output(call.resultShape);
  const centre = call.scratch(4 * heads * centreFloats(D));
  const shape = { D, Dv, hasCachedBias: call.has('cachedBias') };
  const layout = statisticsLayout(shape);
  const blocks = layout.rowBlocks * layout.columnBlocks;
  const factor = stepFactor(shape, device.limits.maxComputeWorkgroupStorageSize);
  const mostRows = Math.floor(MOST_BYTES / (16 * heads * layout.quads));
  const plans = stepParts(call, mostRows).map((part) => ({
    part,
    ...keyRanges(part.keys, heads * part.rows * blocks, WORKGROUPS, TURN_KEYS, LEAST_KEYS),
  }));
  const most = Math.max(...plans.map(({ part, ranges }) => part.rows * ranges));
  const statistics = call.scratch(16 * heads * most * layout.quads);
  const region = 4 * heads * Math.min(Tq, Math.max(1, mostRows)) * factorRegion(factor);
  const names = ['query', 'cachedKey', 'cachedValue', 'cachedBias', 'ridge'];
  const given = Object.fromEntries(names.filter((name) => call.has(name)).map((name) => [name, call.input(name)]));
  const buffers = { ...given, centre, statistics, out: out.buffer, ...(region > 0 && { work: call.work(region) }) };
  for (const { part, ranges, perRange } of plans) {
    const params = { ...part, ranges, perRange, logScale: logScale(call), ridge: attrs.ridge, nan: NaN };
    appendRows(call, part, centre);
    call.run(statisticsShader(shape), buffers, params, [ranges * blocks, heads, part.rows]);
    call.run(stepSolveShader(shape, factor, call.has('ridge')), buffers, params, [part.rows, heads]);
  }
  return [out];
}

/** `out [..., t, Dv]` of new rows against a cache, to which they are appended. */
export function localLinearAttentionStepWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(localLinearAttentionSpec, kernelCall, step);
}
