/** What a page under test runs: every operator, its gradients and its cache, on one backend after another. */
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import '../../src/backends/webgl.js';
import '../../src/backends/webgpu.js';
import { cacheFor, callOf, stepOver } from '../cache_calls.js';
import { operators } from '../cases.js';
import { Random } from '../random.js';
import { runCall, tensorsOf } from '../run_call.js';

setWasmPaths('/');

/** What a backend made of the calls, by what it is, and what was left when all of it was disposed. */
export interface Visit {
  readonly numbers: Readonly<Record<string, number[]>>;
  readonly numTensors: number;
  /** Undefined where the backend has no device. */
  readonly numBytesInGPU: number | undefined;
}

const TOKENS = 12;

async function visit(): Promise<Visit> {
  const numbers: Record<string, number[]> = {};
  for (const operator of operators) {
    const call = callOf(operator, TOKENS, 1, { keyMask: true, keyBias: true, ridge: true });
    const { out, gradients } = await runCall(call, new Random(2).normals([2, 2, TOKENS, 5]).data);
    numbers[`${operator} out`] = Array.from(out);
    for (const [name, gradient] of Object.entries(gradients)) numbers[`${operator} d${name}`] = Array.from(gradient);
    const tensors = tensorsOf(call);
    const cache = cacheFor(call, { capacity: 4 });
    let from = 0;
    for (const t of [3, 1, 8]) {
      const step = stepOver(cache, call, tensors, from, from + t);
      numbers[`${operator} tokens ${from} to ${from + t - 1}`] = Array.from(await step.data());
      step.dispose();
      from += t;
    }
    cache.dispose();
    tf.dispose(tensors);
  }
  const { numTensors, ...memory } = tf.memory();
  return { numbers, numTensors, numBytesInGPU: (memory as { numBytesInGPU?: number }).numBytesInGPU };
}

Object.assign(globalThis, {
  /** Makes a backend the current one and runs everything there. */
  async visit(backend: string): Promise<Visit> {
    if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} is not available`);
    await tf.ready();
    return visit();
  },
});
