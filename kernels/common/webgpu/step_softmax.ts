import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import type { Output, WebGpuCall } from './call.js';
import { logScale } from './probe_attention.js';
import type { StepAttrs, StepPart } from '../step_parts.js';
import { appendRows, centreFloats, keyRanges, mostRanges, stepInputs, stepParts } from './step.js';
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

/** Keys and values in a step's buffers, with what the shaders need besides: `centre` and `probe` for Parallax. */
type StepBuffers = Readonly<Record<string, GPUBuffer>>;

/** Most rows of a step that are handled together, here and by whoever makes the probe. */
export const MOST_STEP_ROWS = 256;

/**
 * How the rows of the given parts attend to the cache, once their keys are in it: ranges of keys, then their merge. With a
 * probe in `buffers` it is Parallax attention.
 */
export function stepAttention<Attrs extends SoftmaxAttentionAttrs & StepAttrs>(
  call: WebGpuCall<Attrs>,
  parts: readonly StepPart[],
  out: GPUBuffer,
  buffers: StepBuffers,
): (part: StepPart) => void {
  const { D, Dv, heads } = call.dims;
  const hasProbe = 'probe' in buffers;
  const plan = (part: StepPart) => {
    const rows = part.rows === 1 ? 1 : hasProbe ? ROWS / 2 : ROWS;
    const shape: SoftmaxStep = { D, Dv, hasCachedBias: call.has('cachedBias'), hasProbe, rows };
    const blocks = Math.ceil(part.rows / rows);
    return { shape, blocks, ...keyRanges(part.keys, heads * blocks, WORKGROUPS, softmaxStepKeys(shape)) };
  };
  const quads = parts.map((part) => {
    const { shape, blocks } = plan(part);
    const ranges = mostRanges(part.capacity, heads * blocks, WORKGROUPS, softmaxStepKeys(shape));
    return part.rows * ranges * softmaxPartQuads(shape);
  });
  const all = { ...stepInputs(call), ...buffers, out, parts: call.scratch(16 * heads * Math.max(...quads)) };
  return (part) => {
    const { shape, blocks, ranges, perRange } = plan(part);
    const params = { ...part, ranges, perRange, logScale: logScale(call), nan: NaN };
    call.run(softmaxPartsShader(shape), all, params, [ranges, heads, blocks]);
    call.run(softmaxMergeShader(shape), all, params, [part.rows, heads]);
  };
}

/** A step of softmax attention or, with the input `probe`, of Parallax: append, then attend. */
export function softmaxStep(call: WebGpuCall<SoftmaxAttentionAttrs & StepAttrs>, hasProbe: boolean): Output[] {
  const { D, heads } = call.dims;
  const out = call.output(call.resultShape);
  const parts = stepParts(call, MOST_STEP_ROWS);
  const centre = hasProbe ? call.scratch(4 * heads * centreFloats(D)) : undefined;
  const buffers = centre && { centre, probe: call.input('probe') };
  const attend = stepAttention(call, parts, out.buffer, buffers ?? {});
  for (const part of parts) {
    appendRows(call, part, centre);
    attend(part);
  }
  return [out];
}
