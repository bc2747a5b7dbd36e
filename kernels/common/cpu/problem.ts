import type { KernelBackend, TensorInfo } from '@tensorflow/tfjs-core';

import type { AttentionDims } from '../dims.js';
import { CallInputs, type KernelCall } from '../kernel_call.js';
import type { AttentionAttrs, OperatorSpec } from '../spec.js';

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
export class CpuCall<Attrs extends AttentionAttrs> extends CallInputs<Attrs> {
  private readonly backend: KernelBackend;

  constructor(spec: OperatorSpec<Attrs>, call: KernelCall) {
    super(spec, call);
    this.backend = call.backend as KernelBackend;
  }

  /** Values of an input that is always there. */
  values(name: string): ArrayLike<number> {
    return this.backend.readSync(this.tensor(name).dataId) as ArrayLike<number>;
  }

  /** Values of an input that may be missing. */
  optionalValues(name: string): ArrayLike<number> | undefined {
    return this.has(name) ? this.values(name) : undefined;
  }

  /** The tensors that every operator has. */
  problem(): CpuProblem {
    const keyMask = this.optionalValues('keyMask');
    const keyBias = this.optionalValues('keyBias');
    return {
      dims: this.dims,
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
      .filter((name) => this.has(name))
      .map((name) => this.output(values[name], this.tensor(name).shape.slice()));
  }
}
