import type { KernelBackend, NamedAttrMap, NamedTensorInfoMap, TensorInfo } from '@tensorflow/tfjs-core';

import type { AttentionDims } from '../dims.js';
import type { AttentionAttrs, OperatorSpec } from '../spec.js';
import { attentionDims } from '../validate.js';

/** What tfjs hands to a kernel. */
export interface KernelCall {
  inputs: NamedTensorInfoMap;
  backend: unknown;
  attrs?: NamedAttrMap;
}

/** A kernel call's tensors as typed arrays, not copied, and its sizes. */
export interface CpuProblem {
  readonly dims: AttentionDims;
  /** `[heads, Tq, D]` */
  readonly query: ArrayLike<number>;
  /** `[heads, Tk, D]` */
  readonly key: ArrayLike<number>;
  /** `[heads, Tk, Dv]` */
  readonly value: ArrayLike<number>;
  /** `[batch, Tk]`, 0 hides a key. */
  readonly keyMask?: ArrayLike<number>;
  /** `[heads, Tk]` */
  readonly keyBias?: ArrayLike<number>;
}

/** Access to a kernel call of backend `cpu`: reads inputs, makes outputs. */
export class CpuCall<Attrs extends AttentionAttrs> {
  /** The attributes that the operator's spec made. */
  readonly attrs: Attrs;
  private readonly backend: KernelBackend;

  constructor(
    private readonly spec: OperatorSpec<Attrs>,
    private readonly call: KernelCall,
  ) {
    this.backend = call.backend as KernelBackend;
    this.attrs = call.attrs as Attrs;
  }

  /** An input that is always there. */
  tensor(name: string): TensorInfo {
    const tensor = this.call.inputs[name];
    if (tensor === undefined) throw new Error(`${this.spec.operator}: the kernel was called without its input ${name}`);
    return tensor;
  }

  /** Values of an input that is always there. */
  values(name: string): ArrayLike<number> {
    return this.backend.readSync(this.tensor(name).dataId) as ArrayLike<number>;
  }

  /** Values of an input that may be missing. */
  optionalValues(name: string): ArrayLike<number> | undefined {
    return this.call.inputs[name] === undefined ? undefined : this.values(name);
  }

  /** The tensors that every operator has. */
  problem(): CpuProblem {
    const [query, key, value] = ['query', 'key', 'value'].map((name) => this.tensor(name).shape);
    const keyMask = this.optionalValues('keyMask');
    const keyBias = this.optionalValues('keyBias');
    return {
      dims: attentionDims(this.spec.operator, { query, key, value }),
      query: this.values('query'),
      key: this.values('key'),
      value: this.values('value'),
      ...(keyMask && { keyMask }),
      ...(keyBias && { keyBias }),
    };
  }

  /** A float32 output. */
  output(values: Float32Array, shape: number[]): TensorInfo {
    return { dataId: this.backend.write(values, shape, 'float32'), shape, dtype: 'float32' };
  }

  /** Gradients, by name of the input that they belong to, of the inputs that were given. */
  gradients(values: Readonly<Record<string, Float32Array>>): TensorInfo[] {
    return this.spec.differentiable
      .filter((name) => this.call.inputs[name] !== undefined)
      .map((name) => this.output(values[name], this.tensor(name).shape.slice()));
  }

  /** The shape of the operator's result, `[..., Tq, Dv]`. */
  resultShape(): number[] {
    return [...this.tensor('query').shape.slice(0, -1), ...this.tensor('value').shape.slice(-1)];
  }
}
