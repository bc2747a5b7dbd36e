import '@tensorflow/tfjs-backend-cpu';
import * as wasm from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { dirname } from 'node:path';
import { createRequire } from 'node:module';
import { usedOpLibrary } from '../src/native/op_library.js';
import { initBackend } from '../src/node.js';
import type { Extent } from './cases.js';

export type Backend = 'cpu' | 'wasm' | 'webgpu' | 'tensorflow';

declare global {
  // The configuration of jest that is running sets it.
  var testedBackends: readonly Backend[];
}

/** The backends that a run must cover. One that does not work fails its tests; none is skipped. */
export const backends = globalThis.testedBackends;

const isFullRun = process.env.TFJS_LLA_TEST === 'full';

/** How much of the case table a run covers. A GPU simulated in software would take hours for all of it. */
export const extent: Extent = backends.includes('webgpu') ? 'optionPairs' : isFullRun ? 'all' : 'pairs';

const entry = createRequire(resolveFrom()).resolve('@tensorflow/tfjs-backend-wasm');
wasm.setWasmPaths(`${dirname(entry)}/`);

function resolveFrom(): string {
  return `${process.cwd()}/package.json`;
}

/** What a backend computes with, for the report. */
async function adapterOf(backend: Backend): Promise<string> {
  if (backend === 'cpu') return `JavaScript, Node ${process.version}`;
  if (backend === 'tensorflow') return await startTensorflow();
  if (backend === 'webgpu') return (await initBackend('webgpu')).adapter;
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
  const threads = (await tf.env().getAsync('WASM_HAS_MULTITHREAD_SUPPORT')) ? wasm.getThreadsCount() : 1;
  return `WebAssembly, SIMD ${simd ? 'yes' : 'no'}, threads ${String(threads)}`;
}

/** Makes `tensorflow` the current backend; the native kernels have to be there, on a GPU the CUDA kernels. */
async function startTensorflow(): Promise<string> {
  const { adapter } = await initBackend('tensorflow');
  if (!/, (native kernels with|CUDA kernels \()/.test(adapter))
    throw new Error(`backend tensorflow runs on ${adapter}`);
  return adapter;
}

/** The operations that have CUDA kernels where backend `tensorflow` computes on a GPU; undefined on a processor. */
export function cudaOperations(): readonly string[] | undefined {
  return usedOpLibrary().cuda?.operations;
}

const reported = new Set<Backend>();

/** Makes `backend` the current one; throws where it is not available. Its adapter goes to the report once. */
export async function useBackend(backend: Backend): Promise<void> {
  if (tf.getBackend() === backend) return;
  if (backend === 'tensorflow') await startTensorflow();
  // In Node tfjs cannot set this one up by itself; the error says what is missing.
  if (backend === 'webgpu') await initBackend(backend);
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} is not available`);
  await tf.ready();
  if (tf.getBackend() !== backend) throw new Error(`asked for backend ${backend}, got ${tf.getBackend()}`);
  if (!reported.has(backend)) process.stderr.write(`backend ${backend}: ${await adapterOf(backend)}\n`);
  reported.add(backend);
}

afterAll(() => {
  // Another file's tests in the same process get a device of their own.
  if (backends.includes('webgpu')) tf.removeBackend('webgpu');
});
