import '@tensorflow/tfjs-backend-cpu';
import * as wasm from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { dirname } from 'node:path';
import { createRequire } from 'node:module';

// A hang must fail, a busy machine must not.
jest.setTimeout(60_000);

/** The backends that a run must cover. One that does not work fails its tests; none is skipped. */
export const backends = ['cpu', 'wasm'] as const;

export type Backend = (typeof backends)[number];

const entry = createRequire(resolveFrom()).resolve('@tensorflow/tfjs-backend-wasm');
wasm.setWasmPaths(`${dirname(entry)}/`);

function resolveFrom(): string {
  return `${process.cwd()}/package.json`;
}

/** What a backend computes with, for the report. */
async function adapterOf(backend: Backend): Promise<string> {
  if (backend === 'cpu') return `JavaScript, Node ${process.version}`;
  const simd = await tf.env().getAsync('WASM_HAS_SIMD_SUPPORT');
  const threads = (await tf.env().getAsync('WASM_HAS_MULTITHREAD_SUPPORT')) ? wasm.getThreadsCount() : 1;
  return `WebAssembly, SIMD ${simd ? 'yes' : 'no'}, threads ${String(threads)}`;
}

const reported = new Set<Backend>();

/** Makes `backend` the current one; throws where it is not available. Its adapter goes to the report once. */
export async function useBackend(backend: Backend): Promise<void> {
  if (tf.getBackend() === backend) return;
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} is not available`);
  await tf.ready();
  if (tf.getBackend() !== backend) throw new Error(`asked for backend ${backend}, got ${tf.getBackend()}`);
  if (!reported.has(backend)) process.stderr.write(`backend ${backend}: ${await adapterOf(backend)}\n`);
  reported.add(backend);
}
