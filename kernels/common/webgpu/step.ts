import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';

import type { AttentionAttrs, OperatorSpec } from '../spec.js';
import { type StepAttrs, type StepPart, stepParts as partsOf } from '../step_parts.js';
import { type Output, WebGpuCall } from './call.js';
import type { KernelCall } from '../kernel_call.js';
import { APPENDED_ROWS, appendShader, MOST_RANGES, type StepKeys } from './step.wgsl.js';

/** Names of a cache's tensors: a step writes to those that it is given. */
const CACHE_TENSORS = [
  'cachedKey',
  'cachedValue',
  'cachedBias',
  'keySum',
  'keyKeySum',
  'keyValueSum',
  'count',
] as const;

/**
 * Runs a kernel that writes to a cache, `Step` or `Append`. What tfjs has read of the cache's tensors before, and kept, is
 * out of date from then on.
 */
export function runStep<Attrs extends AttentionAttrs>(
  spec: OperatorSpec<Attrs>,
  kernelCall: KernelCall,
  body: (call: WebGpuCall<Attrs & StepAttrs>) => readonly Output[],
  kind: 'Step' | 'Append' = 'Step',
): TensorInfo[] {
  const step = { ...spec, kernelName: `${spec.kernelName}${kind}` } as OperatorSpec<Attrs & StepAttrs>;
  const outputs = WebGpuCall.run(step, kernelCall, body);
  const { tensorMap } = kernelCall.backend as WebGPUBackend;
  for (const name of CACHE_TENSORS) {
    // An input that a call lacks may be there by name.
    const tensor = kernelCall.inputs[name];
    if (tensor) Object.assign(tensorMap.get(tensor.dataId), { values: null });
  }
  return outputs;
}

/** The parts of a step over cached keys, in order, of at most `mostRows` rows. */
export function stepParts<Attrs extends StepAttrs>(call: WebGpuCall<Attrs>, mostRows: number): StepPart[] {
  return partsOf(call.attrs, call.dims.Tq, call.tensor('cachedKey').shape[1], mostRows);
}

/** Appends a part's rows to the cache; `centre`: a buffer for the centres of the heads' keys. */
export function appendRows<Attrs extends StepAttrs>(call: WebGpuCall<Attrs>, part: StepPart, centre?: GPUBuffer): void {
  const { dims } = call;
  const inputs: StepKeys = {
    hasMask: call.has('keyMask'),
    hasBias: call.has('keyBias'),
    hasCachedBias: call.has('cachedBias'),
  };
  const names = ['key', 'value', 'cachedKey', 'cachedValue', 'keyMask', 'keyBias', 'cachedBias'];
  const buffers = Object.fromEntries(names.filter((name) => call.has(name)).map((name) => [name, call.input(name)]));
  call.run(
    appendShader(inputs, dims.D, dims.Dv, centre !== undefined),
    { ...buffers, ...(centre && { centre }) },
    { ...part, to: (call.attrs.total + part.firstRow) % part.capacity, headsPerBatch: dims.heads / dims.batch },
    [Math.ceil(part.rows / APPENDED_ROWS), dims.heads],
  );
}

/** The kernel that only appends, for operators that keep keys and values; there is room for all of the new tokens. */
export function appendKeysWebGpu<Attrs extends AttentionAttrs>(spec: OperatorSpec<Attrs>): KernelFunc {
  return (kernelCall) => {
    const append = (call: WebGpuCall<Attrs & StepAttrs>): Output[] => {
      for (const part of stepParts(call, call.dims.Tq)) appendRows(call, part);
      return [];
    };
    return runStep(spec, kernelCall, append, 'Append');
  };
}

/** The buffers that rows attend to and with, as the call has them. */
export function stepInputs<Attrs extends StepAttrs>(call: WebGpuCall<Attrs>): Record<string, GPUBuffer> {
  const names = ['query', 'cachedKey', 'cachedValue', 'cachedBias', 'ridge'];
  return Object.fromEntries(names.filter((name) => call.has(name)).map((name) => [name, call.input(name)]));
}

/** Numbers of a head's centre. */
export const centreFloats = (D: number): number => 4 * Math.ceil(D / 4);

/**
 * Ranges of a part's keys: enough for `workgroups` of them when every range has `perRange` workgroups, none smaller than
 * `least` keys, each a multiple of `multiple` keys.
 */
export function keyRanges(
  keys: number,
  perRange: number,
  workgroups: number,
  multiple: number,
  least = multiple,
): { ranges: number; perRange: number } {
  const size = Math.ceil(keys / mostRanges(keys, perRange, workgroups, least) / multiple) * multiple;
  return { ranges: Math.ceil(keys / size), perRange: size };
}

/**
 * The most ranges that `keyRanges` makes of so many keys or fewer. Scratch memory is taken for those of a full cache: tfjs
 * pools buffers by their size, so one that grew with the keys would leave all of its sizes behind.
 */
export function mostRanges(keys: number, perRange: number, workgroups: number, least: number): number {
  // Never a few more than run at once: they would begin when the others are done.
  return Math.max(1, Math.min(MOST_RANGES, Math.floor(workgroups / perRange), Math.ceil(keys / least)));
}
