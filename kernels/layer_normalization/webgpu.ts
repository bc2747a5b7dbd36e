import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';

import { backendOf, floatUniform, intUniform } from '../common/webgpu/tfjs_program.js';
import {
  addChunksProgram,
  featureSumsProgram,
  forwardProgram,
  rowGradientProgram,
  rowsOfChunk,
} from './normalize.wgsl.js';

type Call = Parameters<KernelFunc>[0];

const epsilonOf = ({ attrs }: Call) => floatUniform(attrs?.epsilon);

/** Last axis, and all others as one. */
function sizesOf(shape: readonly number[]): [rows: number, features: number] {
  const features = shape[shape.length - 1];
  return [shape.slice(0, -1).reduce((product, size) => product * size, 1), features];
}

/** A tensor as a matrix of its rows. */
const rowsOf = ({ dataId, dtype, shape }: TensorInfo): TensorInfo => ({ dataId, dtype, shape: sizesOf(shape) });

/** `x`, `gamma`, `beta` to `y`; attribute `epsilon`. One dispatch, where tfjs' operations take eight. */
export const layerNormalizationWebGpu: KernelFunc = (call) => {
  const { x, gamma, beta } = call.inputs as Record<'x' | 'gamma' | 'beta', TensorInfo>;
  const program = forwardProgram(...sizesOf(x.shape));
  const y = backendOf(call).runWebGPUProgram(program, [rowsOf(x), gamma, beta], 'float32', [epsilonOf(call)]);
  return { ...y, shape: x.shape };
};

/** `x`, `gamma`, `dy` to the gradients of `x`, `gamma` and `beta`; attribute `epsilon`. Four dispatches, not sixteen. */
export const layerNormalizationGradWebGpu: KernelFunc = (call) => {
  const backend = backendOf(call);
  const { x, gamma, dy } = call.inputs as Record<'x' | 'gamma' | 'dy', TensorInfo>;
  const [rows, features] = sizesOf(x.shape);
  const epsilon = epsilonOf(call);
  const inputs = [rowsOf(x), gamma, rowsOf(dy)];
  const dx = backend.runWebGPUProgram(rowGradientProgram(rows, features), inputs, 'float32', [epsilon]);
  const uniforms = [epsilon, intUniform(rowsOfChunk(rows))];
  const sums = backend.runWebGPUProgram(
    featureSumsProgram(rows, features),
    [inputs[0], inputs[2]],
    'float32',
    uniforms,
  );
  const [dgamma, dbeta] = [0, 1].map((which) =>
    backend.runWebGPUProgram(addChunksProgram(features), [sums], 'float32', [intUniform(which)]),
  );
  backend.disposeData(sums.dataId);
  return [{ ...dx, shape: x.shape }, dgamma, dbeta];
};
