import type { NamedAttrMap, NamedTensorInfoMap, TensorInfo } from '@tensorflow/tfjs-core';

import type { AttentionDims } from './dims.js';
import type { AttentionAttrs, OperatorSpec } from './spec.js';
import { attentionDims } from './validate.js';

/** What tfjs hands to a kernel. */
export interface KernelCall {
  inputs: NamedTensorInfoMap;
  backend: unknown;
  attrs?: NamedAttrMap;
}

/** What a kernel of any backend is given: its inputs by name, its attributes, its sizes. */
export class CallInputs<Attrs extends AttentionAttrs> {
  /** The attributes that the operator's spec made. */
  readonly attrs: Attrs;
  readonly dims: AttentionDims;

  constructor(
    readonly spec: OperatorSpec<Attrs>,
    protected readonly call: KernelCall,
  ) {
    this.attrs = call.attrs as Attrs;
    const [query, key, value] = ['query', 'key', 'value'].map((name) => this.tensor(name).shape);
    this.dims = attentionDims(spec.operator, { query, key, value });
  }

  /** An input that is always there. */
  tensor(name: string): TensorInfo {
    const tensor = this.call.inputs[name];
    if (tensor === undefined) throw new Error(`${this.spec.operator}: the kernel was called without its input ${name}`);
    return tensor;
  }

  has(name: string): boolean {
    return this.call.inputs[name] !== undefined;
  }

  /** The shape of the operator's result, `[..., Tq, Dv]`. */
  get resultShape(): number[] {
    return [...this.tensor('query').shape.slice(0, -1), ...this.tensor('value').shape.slice(-1)];
  }
}
