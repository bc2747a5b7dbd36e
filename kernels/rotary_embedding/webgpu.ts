import type { WebGPUProgram } from '@tensorflow/tfjs-backend-webgpu';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';

import { backendOf, floatUniform, intUniform, tfjsProgram, THREADS } from '../common/webgpu/tfjs_program.js';

/** `x cos + exchanged(x) sin` of `x [B, H, T, D]` and of tables of positions `[B or 1, T, D]`, a thread for each number. */
const program = (size: number): WebGPUProgram =>
  tfjsProgram({
    key: 'rotaryEmbedding',
    inputs: ['x', 'cosines', 'sines'],
    shape: [size],
    workgroups: Math.ceil(size / THREADS),
    uniforms: 'sequence: i32, table: i32, width: i32, tables: i32, direction: f32,',
    text: `
fn main(index: i32) {
  if (index >= uniforms.outShape) { return; }
  let half = uniforms.width / 2;
  let channel = index % uniforms.width;
  let partner = index + select(half, -half, channel >= half);
  let batch = select(index / uniforms.sequence, 0, uniforms.tables == 1);
  let at = batch * uniforms.table + index % uniforms.table;
  result[index] = x[index] * cosines[at] + uniforms.direction * x[partner] * sines[at];
}`,
  });

/**
 * Rotation of pairs of channels, `x`, `cos`, `sin` to the shape of `x`; attribute `direction` is 1, or -1 for the rotation
 * back, which is the gradient: a sine has another sign in the other half. One dispatch, where tfjs' operations take four.
 */
export const rotaryEmbeddingWebGpu: KernelFunc = (call) => {
  const { x, cos, sin } = call.inputs as Record<'x' | 'cos' | 'sin', TensorInfo>;
  const [B, H, T, D] = x.shape;
  const flat = ({ dataId, dtype, shape }: TensorInfo) => ({ dataId, dtype, shape: [shape.reduce((a, b) => a * b, 1)] });
  const uniforms = [...[H * T * D, T * D, D, cos.shape[0]].map(intUniform), floatUniform(call.attrs?.direction)];
  const made = backendOf(call).runWebGPUProgram(program(B * H * T * D), [x, cos, sin].map(flat), 'float32', uniforms);
  return { ...made, shape: x.shape };
};
