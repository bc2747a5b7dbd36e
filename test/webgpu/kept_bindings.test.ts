import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';

import { bindGroupOf, pipelineOf } from '../../kernels/common/webgpu/pipelines.js';
import type { Shader } from '../../kernels/common/webgpu/shader.js';
import { Uniforms } from '../../kernels/common/webgpu/uniforms.js';
import { initBackend } from '../../src/node.js';

describe('What is kept from call to call', () => {
  let backend: WebGPUBackend;
  beforeAll(async () => {
    await initBackend('webgpu');
    const current = tf.backend();
    if (!(current instanceof WebGPUBackend)) throw new Error('tfjs has no backend webgpu');
    backend = current;
  });

  const packed = (x: number): ArrayBuffer => new Uint32Array([x, 0, 0, 7]).buffer;

  test('uniforms are written once, what is new in a call by one write', () => {
    const uniforms = Uniforms.of(backend);
    const write = jest.spyOn(backend.queue, 'writeBuffer');
    const places = [1, 2, 3].map((x) => uniforms.add(packed(x)));
    uniforms.write();
    expect([1, 2, 3].map((x) => uniforms.add(packed(x)))).toEqual(places);
    uniforms.write();
    uniforms.release();
    expect(new Set(places.map(({ offset }) => offset)).size).toBe(3);
    expect(write).toHaveBeenCalledTimes(1);
    write.mockRestore();
  });

  test('more uniforms than a buffer holds take another, and the full one goes back behind the call', () => {
    const uniforms = Uniforms.of(backend);
    const before = backend.bufferManager.getNumUsedBuffers();
    const places = Array.from({ length: 600 }, (_, i) => uniforms.add(packed(1000 + i)));
    uniforms.write();
    expect(new Set(places.map(({ buffer }) => buffer)).size).toBeGreaterThan(2);
    expect(new Set(places.slice(-256).map(({ buffer, offset = 0 }) => `${buffer.label}${offset}`)).size).toBe(256);
    uniforms.release();
    expect(backend.bufferManager.getNumUsedBuffers()).toBeLessThanOrEqual(before + 1);
  });

  test('a bind group is made anew for other buffers or places only', () => {
    const shader: Shader = {
      key: 'kept bindings',
      workgroupSize: 64,
      params: { n: 'u32' },
      buffers: { out: { access: 'read_write', element: 'f32' } },
      workgroupBytes: 0,
      text: () => '@compute @workgroup_size(64) fn main() { out[0] = f32(params.n); }',
    };
    const { device } = backend;
    const compiled = pipelineOf(device, shader);
    const [uniforms, first, second] = [GPUBufferUsage.UNIFORM, GPUBufferUsage.STORAGE, GPUBufferUsage.STORAGE].map(
      (usage) => device.createBuffer({ size: 512, usage }),
    );
    const check = jest.fn();
    const group = (out: GPUBuffer, offset: number): GPUBindGroup =>
      bindGroupOf(device, compiled, [{ buffer: uniforms, offset, size: 16 }, { buffer: out }], check);
    const one = group(first, 0);
    expect(group(first, 0)).toBe(one);
    expect(group(second, 0)).not.toBe(one);
    expect(group(first, 256)).not.toBe(one);
    expect(check).toHaveBeenCalledTimes(3);
    for (const buffer of [uniforms, first, second]) buffer.destroy();
  });
});
