import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import type { Output, WebGpuCall } from './call.js';
import { logScale } from './probe_attention.js';
import type { StepAttrs, StepPart } from '../step_parts.js';
import { appendRows, centreFloats, keyRanges, stepParts } from './step.js';
import {
  softmaxMergeShader,
  softmaxPartQuads,
  softmaxPartsShader,
  type SoftmaxStep,
  softmaxStepKeys,
} from './step_softmax.wgsl.js';

/** Workgroups that keep a large device's memory busy. */
const WORKGROUPS = 1024;

/** Rows that share what a workgroup reads, where there are several. */
const ROWS = 4;

/** Most rows that are handled together. */
const MOST_ROWS = 256;

/** A step of softmax attention or, with the input `probe`, of Parallax: append, ranges of keys, merge. */
export function softmaxStep(call: WebGpuCall<SoftmaxAttentionAttrs & StepAttrs>, hasProbe: boolean): Output[] {
  const { D, Dv, heads } = call.dims;
  const out = call.output(call.resultShape);
  const centre = hasProbe ? call.scratch(4 * heads * centreFloats(D)) : undefined;
  const names = ['query', 'probe', 'cachedKey', 'cachedValue', 'cachedBias'];
  const given = Object.fromEntries(names.filter((name) => call.has(name)).map((name) => [name, call.input(name)]));
  const parts = stepParts(call, MOST_ROWS);
  const shapeOf = ({ rows }: StepPart): SoftmaxStep => {
    const together = rows === 1 ? 1 : hasProbe ? ROWS / 2 : ROWS;
    return { D, Dv, hasCachedBias: call.has('cachedBias'), hasProbe, rows: together };
  };
  const plans = parts.map((part) => {
    const shape = shapeOf(part);
    const blocks = Math.ceil(part.rows / shape.rows);
    return { part, shape, blocks, ...keyRanges(part.keys, heads * blocks, WORKGROUPS, softmaxStepKeys(shape)) };
  });
  const most = Math.max(...plans.map(({ part, ranges, shape }) => part.rows * ranges * softmaxPartQuads(shape)));
  const buffers = { ...given, out: out.buffer, parts: call.scratch(16 * heads * most), ...(centre && { centre }) };
  for (const { part, shape, blocks, ranges, perRange } of plans) {
    const params = { ...part, ranges, perRange, logScale: logScale(call), nan: NaN };
    appendRows(call, part, centre);
    call.run(softmaxPartsShader(shape), buffers, params, [ranges, heads, blocks]);
    call.run(softmaxMergeShader(shape), buffers, params, [part.rows, heads]);
  }
  return [out];
}
