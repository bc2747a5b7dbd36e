import '@tensorflow/tfjs-backend-cpu';
import * as wasm from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { dirname } from 'node:path';
import { createRequire } from 'node:module';
import { initBackend } from '../src/node.js';

// A hang must fail, a busy machine must not.
jest.setTimeout(60_000);

export type Backend = 'cpu' | 'wasm' | 'tensorflow';

/**
 * The backends that a run must cover. One that does not work fails its tests; none is skipped. `npm run test:tensorflow`
 * names `tensorflow`, which has to be set up first.
 */
export const backends: readonly Backend[] =
  process.env.TFJS_LLA_BACKENDS === 'tensorflow' ? ['tensorflow'] : ['cpu', 'wasm'];

const entry = createRequire(resolveFrom()).resolve('@tensorflow/tfjs-backend-wasm');
wasm.setWasmPaths(`${dirname(entry)}/`);

function resolveFrom(): string {
  return `${process.cwd()}/package.json`;
}

/** What a backend computes with, for the report. */
async function adapterOf(backend: Backend): Promise<string> {
  if (backend === 'cpu') return `JavaScript, Node ${process.version}`;
  if (backend === 'tensorflow') return await startTensorflow();
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
  const threads = (await tf.env().getAsync('WASM_HAS_MULTITHREAD_SUPPORT')) ? wasm.getThreadsCount() : 1;
  return `WebAssembly, SIMD ${simd ? 'yes' : 'no'}, threads ${String(threads)}`;
}

/** Makes `tensorflow` the current backend; the native kernels have to be there. */
async function startTensorflow(): Promise<string> {
  const { adapter } = await initBackend('tensorflow');
  if (!adapter.endsWith(', native kernels')) throw new Error(`backend tensorflow runs on ${adapter}`);
  return adapter;
}

const reported = new Set<Backend>();

/** Makes `backend` the current one; throws where it is not available. Its adapter goes to the report once. */
export async function useBackend(backend: Backend): Promise<void> {
  if (tf.getBackend() === backend) return;
  if (backend === 'tensorflow') await startTensorflow();
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} is not available`);
  await tf.ready();
  if (tf.getBackend() !== backend) throw new Error(`asked for backend ${backend}, got ${tf.getBackend()}`);
  if (!reported.has(backend)) process.stderr.write(`backend ${backend}: ${await adapterOf(backend)}\n`);
  reported.add(backend);
}
