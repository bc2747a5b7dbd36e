import type { KernelFunc, Tensor, TensorInfo } from '@tensorflow/tfjs-core';

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
  /** The attributes besides those counts: integers where `integers` names them, otherwise by their JavaScript type. */
  readonly attrs: (attrs: Attrs) => Readonly<Record<string, number | boolean | string>>;
  readonly integers?: readonly string[];
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

/** The pair of kernels of an operator whose operations are named after its kernels, with `TfjsLla` in front. */
export function tensorflowKernels<Attrs extends AttentionAttrs>(
  spec: OperatorSpec<Attrs>,
  layout: OpLayout<Attrs>,
): { forward: KernelFunc; gradient: KernelFunc } {
  const launch = (suffix: string, extra: readonly string[], outputsOf: (call: Parameters<KernelFunc>[0]) => number) => {
    return (call: Parameters<KernelFunc>[0]): TensorInfo[] => {
      const backend = call.backend as TensorflowBackend;
      const input = (name: string): TensorInfo => {
        const tensor = call.inputs[name];
        if (tensor === undefined) throw new Error(`${spec.operator}: the kernel was called without its input ${name}`);
        return tensor;
      };
      const inputs = [...layout.required, ...extra].map(input);
      const given = layout.optional.filter(([name]) => call.inputs[name] !== undefined);
      const counts = layout.optional.map((entry) => [entry[1], given.includes(entry) ? 1 : 0] as const);
      const integers = new Set([...counts.map(([name]) => name), ...(layout.integers ?? [])]);
      const attrs = [...Object.entries(layout.attrs(call.attrs as Attrs)), ...counts].map(([name, value]) => ({
        name,
        type: attrType(backend, value, integers.has(name)),
        value,
      }));
      const all = [...inputs, ...given.map(([name]) => input(name))];
      const name = `TfjsLla${spec.kernelName}${suffix}`;
      return executeOp(spec.operator, backend, { name, attrs, inputs: all, outputs: outputsOf(call) });
    };
  };
  return {
    forward: launch('', [], () => 1 + spec.residuals.length),
    gradient: launch('Grad', [...spec.residuals, 'dout'], ({ inputs }) => {
      return spec.differentiable.filter((name) => inputs[name] !== undefined).length;
    }),
  };
}

function attrType({ binding }: TensorflowBackend, value: number | boolean | string, isInteger: boolean): number {
  if (typeof value === 'boolean') return binding.TF_ATTR_BOOL;
  if (typeof value === 'string') return binding.TF_ATTR_STRING;
  return isInteger ? binding.TF_ATTR_INT : binding.TF_ATTR_FLOAT;
}
