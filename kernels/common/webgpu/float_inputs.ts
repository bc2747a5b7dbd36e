import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { getKernel, type NamedTensorInfoMap, type TensorInfo } from '@tensorflow/tfjs-core';

/** The inputs of a kernel with floats in every `float32` buffer, and the tensors that were made for that. */
export interface FloatInputs {
  readonly inputs: NamedTensorInfoMap;
  readonly made: readonly TensorInfo[];
}

/**
 * Replaces inputs that are `float32` by name only. What tfjs's `cast` returns on this backend for an `int32` or a `bool`
 * tensor is the tensor's own buffer of integers; its own shaders convert what they load, ours read floats.
 */
export function floatInputs(backend: WebGPUBackend, inputs: NamedTensorInfoMap): FloatInputs {
  const made: TensorInfo[] = [];
  const floats = Object.entries(inputs).map(([name, input]) => {
    // An input that a call lacks is there by name, with nothing behind it.
    const info = input;
    if (info?.dtype !== 'float32' || backend.tensorMap.get(info.dataId).dtype === 'float32') return [name, input];
    const converted = timesOne(backend, info);
    made.push(converted);
    return [name, converted];
  });
  return { inputs: Object.fromEntries(floats) as NamedTensorInfoMap, made };
}

function timesOne(backend: WebGPUBackend, info: TensorInfo): TensorInfo {
  const one = backend.makeTensorInfo([], 'float32', Float32Array.of(1));
  const product = getKernel('Multiply', 'webgpu').kernelFunc({ inputs: { a: info, b: one }, backend });
  backend.disposeData(one.dataId);
  return product as TensorInfo;
}
