/** What the page measures that `webgl.ts` opens. */
import '@tensorflow/tfjs-backend-webgl';
import * as tf from '@tensorflow/tfjs-core';
import { peakScratchBytes } from '../../kernels/common/webgl/call.js';
import '../../src/backends/webgl.js';
import type { BenchCase } from './cases.js';
import type { BenchDevice } from './device.js';
import { timeOnce } from './measure.js';
import { type Row, runCase } from './run_case.js';
import { measureMatMul, type Yardstick } from './yardstick.js';

/** The context of tfjs's backend. */
function context(): WebGLRenderingContext {
  return (tf.backend() as tf.KernelBackend & { getGPGPUContext(): { gl: WebGLRenderingContext } }).getGPGPUContext().gl;
}

async function device(): Promise<BenchDevice> {
  if (!(await tf.setBackend('webgl'))) throw new Error('backend webgl is not available');
  const gl = context();
  const info = gl.getExtension('WEBGL_debug_renderer_info');
  return {
    backend: 'webgl',
    isQueued: false,
    adapter: String(gl.getParameter(info?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER)),
    prepare: () => Promise.resolve(),
    async firstCall(_, body) {
      peakScratchBytes();
      const milliseconds = await timeOnce(body);
      return { milliseconds, extraBytes: peakScratchBytes() };
    },
    iterations: () => Promise.resolve(null),
    peakScratch: peakScratchBytes,
    takeErrors() {
      const error = gl.getError();
      return error === gl.NO_ERROR ? [] : [`WebGL error ${error}`];
    },
  };
}

const page = {
  adapter: async (): Promise<string> => (await device()).adapter,
  runCase: async (one: BenchCase): Promise<Row> => runCase(one, await device()),
  matMul: async (size: number): Promise<Yardstick> => measureMatMul(await device(), size),
};

/** What the page can be asked for. */
export type BenchPage = typeof page;

Object.assign(globalThis, page);
