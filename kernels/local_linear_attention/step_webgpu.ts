import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { Output, WebGpuCall } from '../common/webgpu/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { logScale } from '../common/webgpu/probe_attention.js';
import type { StepAttrs } from '../common/step_parts.js';
import {
  appendRows,
  centreFloats,
  keyRanges,
  mostRanges,
  runStep,
  stepInputs,
  stepParts,
} from '../common/webgpu/step.js';
import { MOST_STEP_ROWS, stepAttention } from '../common/webgpu/step_softmax.js';
import { type LocalLinearAttentionAttrs, localLinearAttentionSpec } from './spec.js';
import { statisticsBlocks, statisticsKeys, statisticsLayout, statisticsShader } from './step.wgsl.js';
import { factorRegion, stepFactor, stepSolveShader } from './step_solve.wgsl.js';

type Call = WebGpuCall<LocalLinearAttentionAttrs & StepAttrs>;

/** Workgroups that keep a large device busy: four a core of 132. */
const WORKGROUPS = 528;

/** Fewest keys of a range: below this, joining the ranges costs more than they save. */
const LEAST_KEYS = 256;

/** Bytes of statistics that one range of keys may take: rows beyond come one after another. */
const MOST_BYTES = 64 * 2 ** 20;

/**
 * Append, statistics of every row's keys over ranges of them, one solve a row, and Parallax attention with its solution.
 *
 * Keys are read twice, but the covariance with the values, two thirds of a single pass's products, is never made.
 */
function step(call: Call): Output[] {
  const { D, heads, Tq } = call.dims;
  const { attrs, device } = call;
  const out = call.output(call.resultShape);
  const [centre, probe] = [call.scratch(4 * heads * centreFloats(D)), call.scratch(4 * heads * Tq * D)];
  const shape = { D, hasCachedBias: call.has('cachedBias') };
  const { quads } = statisticsLayout(shape);
  const blocks = statisticsBlocks(shape);
  const factor = stepFactor(shape, device.limits.maxComputeWorkgroupStorageSize);
  const mostRows = Math.max(1, Math.min(MOST_STEP_ROWS, Math.floor(MOST_BYTES / (16 * heads * quads))));
  const parts = stepParts(call, mostRows);
  const most = Math.max(
    ...parts.map(({ rows, capacity }) => rows * mostRanges(capacity, heads * rows * blocks, WORKGROUPS, LEAST_KEYS)),
  );
  const statistics = call.scratch(16 * heads * most * quads);
  const region = 4 * heads * Math.min(Tq, mostRows) * factorRegion(factor);
  const attend = stepAttention(call, parts, out.buffer, { centre, probe });
  const buffers = { ...stepInputs(call), centre, statistics, probe, ...(region > 0 && { work: call.work(region) }) };
  for (const part of parts) {
    const { keys, rows } = part;
    const { ranges, perRange } = keyRanges(keys, heads * rows * blocks, WORKGROUPS, statisticsKeys(shape), LEAST_KEYS);
    const params = { ...part, ranges, perRange, logScale: logScale(call), ridge: attrs.ridge, nan: NaN };
    appendRows(call, part, centre);
    call.run(statisticsShader(shape), buffers, params, [ranges * blocks, heads, part.rows]);
    call.run(stepSolveShader(shape, factor, call.has('ridge')), buffers, params, [part.rows, heads]);
    attend(part);
  }
  return [out];
}

/** `out [..., t, Dv]` of new rows against a cache, to which they are appended. */
export function localLinearAttentionStepWebGpu(kernelCall: KernelCall): TensorInfo[] {
  return runStep(localLinearAttentionSpec, kernelCall, step);
}
