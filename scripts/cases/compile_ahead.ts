import * as tf from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { recordShaders } from '../../kernels/common/webgpu/call.js';
import { compileAhead } from '../../kernels/common/webgpu/pipelines.js';
import type { Shader } from '../../kernels/common/webgpu/shader.js';
import { outShape } from '../../test/judge.js';
import { gradientsOf } from '../../test/run_call.js';
import type { Call } from '../../test/values.js';

/** Compiles all shaders of some cases at the same time: one after another they take longer than everything else. Returns how many. */
export async function compileCases(cases: Iterable<Call>): Promise<number> {
  const backend = tf.backend();
  if (!(backend instanceof WebGPUBackend)) throw new Error('tfjs has no backend webgpu');
  const shaders = new Map<string, Shader>();
  for (const testCase of cases) {
    const shape = outShape(testCase);
    const dout = { shape, data: new Float32Array(tf.util.sizeFromShape(shape)) };
    for (const shader of recordShaders(() => tf.dispose(gradientsOf(testCase, dout)))) shaders.set(shader.key, shader);
  }
  await compileAhead(backend.device, [...shaders.values()]);
  return shaders.size;
}
