import { type KernelFunc, type Tensor, tensor1d, type TensorInfo } from '@tensorflow/tfjs-core';

import type { AttentionAttrs, OperatorSpec } from '../spec.js';

/** An attribute of a TensorFlow operation, as the addon of tfjs-node takes it. */
export interface OpAttr {
  readonly name: string;
  /** One of the constants `TF_ATTR_*`. */
  readonly type: number;
  readonly value: number | boolean | string;
}

/** What this package uses of tfjs-node's backend. */
export interface TensorflowBackend {
  readonly isUsingGpuDevice: boolean;
  readonly binding: {
    readonly TF_Version: string;
    readonly TF_ATTR_STRING: number;
    readonly TF_ATTR_INT: number;
    readonly TF_ATTR_FLOAT: number;
    readonly TF_ATTR_BOOL: number;
  };
  executeMultipleOutputs(
    name: string,
    attrs: readonly OpAttr[],
    inputs: readonly TensorInfo[],
    outputs: number,
  ): Tensor[];
}

/** How an operator's attributes and inputs reach its TensorFlow operations (`native/*_op.cc`). */
export interface OpLayout<Attrs> {
  /** Inputs that are always there, in the operation's order; the gradient's come after the forward's. */
  readonly required: readonly string[];
  /** Inputs that may be missing, each with the attribute that counts it: 0 or 1. */
  readonly optional: readonly (readonly [input: string, count: string])[];
  /** The attributes besides those counts and `precision`: integers where `integers` names them, otherwise by their JavaScript type. */
  readonly attrs: (attrs: Attrs) => Readonly<Record<string, number | boolean | string>>;
  readonly integers?: readonly string[];
  /**
   * Integers that change from call to call, the last input of the operation: TensorFlow keeps a kernel, some kilobytes, for
   * every set of attributes. On a GPU they stay in the host's memory.
   */
  readonly place?: (attrs: Attrs, input: (name: string) => TensorInfo) => readonly number[];
}

/** A call of one of this package's operations. */
export interface OpCall {
  readonly name: string;
  readonly attrs: readonly OpAttr[];
  readonly inputs: readonly TensorInfo[];
  readonly outputs: number;
}

/** Runs an operation; its errors, also those of TensorFlow and the addon before it runs, name the operator. */
export function executeOp(operator: string, backend: TensorflowBackend, call: OpCall): Tensor[] {
  try {
    return backend.executeMultipleOutputs(call.name, call.attrs, call.inputs, call.outputs);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (message.includes(operator)) throw error;
    throw new Error(`${operator}: ${call.name}: ${message}`, { cause: error });
  }
}

type KernelCall = Parameters<KernelFunc>[0];

/** A kernel that calls the operation of an operator which is named after the kernel, with `TfjsLla` in front. */
function launcher<Attrs extends AttentionAttrs>(
  spec: OperatorSpec,
  layout: OpLayout<Attrs>,
  suffix: string,
  outputsOf: (call: KernelCall) => number,
) {
  return (call: KernelCall): TensorInfo[] => {
    const backend = call.backend as TensorflowBackend;
    const input = (name: string): TensorInfo => {
      const tensor = call.inputs[name];
      if (tensor === undefined) throw new Error(`${spec.operator}: the kernel was called without its input ${name}`);
      return tensor;
    };
    const inputs = layout.required.map(input);
    const given = layout.optional.filter(([name]) => call.inputs[name] !== undefined);
    const counts = layout.optional.map((entry) => [entry[1], given.includes(entry) ? 1 : 0] as const);
    const integers = new Set([...counts.map(([name]) => name), ...(layout.integers ?? [])]);
    const own = call.attrs as Attrs;
    const named = { ...layout.attrs(own), precision: own.precision };
    const attrs = [...Object.entries(named), ...counts].map(([name, value]) => ({
      name,
      type: attrType(backend, value, integers.has(name)),
      value,
    }));
    const all = [...inputs, ...given.map(([name]) => input(name))];
    const name = `TfjsLla${spec.kernelName}${suffix}`;
    const place = layout.place && tensor1d([...layout.place(own, input)], 'int32');
    if (place) all.push(place);
    try {
      return executeOp(spec.operator, backend, { name, attrs, inputs: all, outputs: outputsOf(call) });
    } finally {
      place?.dispose();
    }
  };
}

/** The kernels of an operator, the step of its cache included. */
export interface TensorflowKernels {
  readonly forward: KernelFunc;
  readonly gradient: KernelFunc;
  /** Attends to the cache's tensors and writes the new tokens into them. */
  readonly step: KernelFunc;
}

/** The kernels of an operator; `cache` says how its step differs: the cache's tensors and further attributes. */
export function tensorflowKernels<Attrs extends AttentionAttrs>(
  spec: OperatorSpec<Attrs>,
  layout: OpLayout<Attrs>,
  cache: OpLayout<CachePlace>,
): TensorflowKernels {
  const backward = { ...layout, required: [...layout.required, ...spec.residuals, 'dout'] };
  const step: OpLayout<Attrs & CachePlace> = {
    required: [...layout.required, ...cache.required],
    optional: [...layout.optional, ...cache.optional],
    attrs: (attrs) => ({ ...layout.attrs(attrs), ...cache.attrs(attrs) }),
    integers: layout.integers,
    place: cache.place,
  };
  return {
    forward: launcher(spec, layout, '', () => 1 + spec.residuals.length),
    gradient: launcher(spec, backward, 'Grad', ({ inputs }) => {
      return spec.differentiable.filter((name) => inputs[name] !== undefined).length;
    }),
    step: launcher(spec, step, 'Step', () => 1),
  };
}

/** The attributes of a step besides the operator's own. */
type CachePlace = AttentionAttrs & { length: number; total: number; window: number };

/** The cache of the operators whose weights are a softmax of scores. */
export const keyValueCache: OpLayout<CachePlace> = {
  required: ['cachedKey', 'cachedValue'],
  optional: [['cachedBias', 'num_cached_biases']],
  attrs: () => ({}),
  place: ({ length, total, window }, input) => [length, total % input('cachedKey').shape[1], window],
};

/** A cache of sums, of which the first is named. */
export function sumCache(first: string): OpLayout<CachePlace> {
  return { required: [first, 'keyValueSum', 'count'], optional: [], attrs: () => ({}) };
}

function attrType({ binding }: TensorflowBackend, value: number | boolean | string, isInteger: boolean): number {
  if (typeof value === 'boolean') return binding.TF_ATTR_BOOL;
  if (typeof value === 'string') return binding.TF_ATTR_STRING;
  return isInteger ? binding.TF_ATTR_INT : binding.TF_ATTR_FLOAT;
}
