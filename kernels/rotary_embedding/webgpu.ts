import type { WebGPUBackend, WebGPUProgram } from '@tensorflow/tfjs-backend-webgpu';
import type { KernelFunc, TensorInfo } from '@tensorflow/tfjs-core';

const THREADS = 64;

/** `x cos + exchanged(x) sin` of `x [B, H, T, D]` and of tables of positions `[B or 1, T, D]`, a thread for each number. */
function program(size: number): WebGPUProgram {
  return {
    shaderKey: 'rotaryEmbedding',
    variableNames: ['x', 'cosines', 'sines'],
    outputShape: [size],
    dispatchLayout: { x: [0] },
    dispatch: [Math.ceil(size / THREADS), 1, 1],
    workgroupSize: [THREADS, 1, 1],
    uniforms: 'sequence: i32, table: i32, width: i32, tables: i32, direction: f32,',
    getUserCode: () => `
fn main(index: i32) {
  if (index >= uniforms.outShape) { return; }
  let half = uniforms.width / 2;
  let channel = index % uniforms.width;
  let partner = index + select(half, -half, channel >= half);
  let batch = select(index / uniforms.sequence, 0, uniforms.tables == 1);
  let at = batch * uniforms.table + index % uniforms.table;
  result[index] = x[index] * cosines[at] + uniforms.direction * x[partner] * sines[at];
}`,
  };
}

/**
 * Rotation of pairs of channels, `x`, `cos`, `sin` to the shape of `x`; attribute `direction` is 1, or -1 for the rotation
 * back, which is the gradient: a sine has another sign in the other half. One dispatch, where tfjs' operations take four.
 */
export const rotaryEmbeddingWebGpu: KernelFunc = ({ inputs, attrs, backend }) => {
  const { x, cos, sin } = inputs as Record<'x' | 'cos' | 'sin', TensorInfo>;
  const [B, H, T, D] = x.shape;
  const flat = ({ dataId, dtype, shape }: TensorInfo) => ({ dataId, dtype, shape: [shape.reduce((a, b) => a * b, 1)] });
  const int32 = (value: number) => ({ type: 'int32', data: [value] });
  const uniforms = [
    ...[H * T * D, T * D, D, cos.shape[0]].map(int32),
    { type: 'float32', data: [Number(attrs?.direction)] },
  ];
  const given: unknown = backend;
  const made = (given as WebGPUBackend).runWebGPUProgram(
    program(B * H * T * D),
    [x, cos, sin].map(flat),
    'float32',
    uniforms,
  );
  return { ...made, shape: x.shape };
};
