/**
 * Setting a backend up in Node. Importing this module also registers everything that `tfjs-lla` registers.
 *
 * @packageDocumentation
 */
import * as files from 'node:fs/promises';
import { arch, cpus } from 'node:os';
import {
  env,
  findBackend,
  findBackendFactory,
  getBackend,
  type KernelBackend,
  removeBackend,
  setBackend,
  tensor3d,
  tidy,
  version_core,
} from '@tensorflow/tfjs-core';
import { printed, reject } from '../kernels/common/validate.js';
import { localLinearAttention, softmaxAttention } from './index.js';
import { tensorflowAdapter } from './native/adapter.js';
import { loadTensorflow } from './native/load.js';
import { fileOf, type FileSource } from './safetensors/file_source.js';

export { directory } from './directory.js';
import { describeGpu } from './node/dawn.js';

/** A backend that this version sets up in Node. */
export type BackendName = 'tensorflow' | 'webgpu' | 'wasm' | 'cpu';

/** A backend that `'auto'` looked at and did not take. */
export interface SkippedBackend {
  readonly backend: BackendName;
  readonly reason: string;
}

/** What `initBackend` did. */
export interface InitializedBackend {
  /** The backend that is now tfjs' current one. */
  readonly backend: BackendName;
  /** What it computes on. */
  readonly adapter: string;
  /** Why this one. */
  readonly reason: string;
  readonly skipped: readonly SkippedBackend[];
}

interface BackendSetup {
  /** The packages it needs, as npm's command line takes them; none where npm does not bring it. */
  readonly packages: readonly string[];
  /** Registers the backend with tfjs. */
  readonly load: () => Promise<unknown>;
  /** Brings this package's own kernels, where that has to wait until the backend runs. */
  readonly addKernels?: () => Promise<unknown>;
  readonly adapter: () => string | Promise<string>;
  /** Whether it computes on a processor that only pretends to be a device. */
  readonly isSimulated?: () => boolean;
}

const processor = (): string => cpus().at(0)?.model.trim() ?? arch();

/** The info of the adapter behind tfjs' `webgpu` backend, whoever set that up. */
function gpuInfo(): GPUAdapterInfo {
  const { device } = findBackend('webgpu') as KernelBackend & { readonly device: GPUDevice };
  return device.adapterInfo;
}

const SETUPS: Readonly<Record<BackendName, BackendSetup>> = {
  tensorflow: {
    packages: [],
    load: loadTensorflow,
    addKernels: () => import('./tensorflow.js'),
    adapter: tensorflowAdapter,
  },
  webgpu: {
    packages: ['webgpu', `@tensorflow/tfjs-backend-webgpu@${version_core}`],
    load: async () => {
      const { registerWebGPU } = await import('./node/webgpu_backend.js');
      await registerWebGPU();
    },
    adapter: () => describeGpu(gpuInfo()),
    isSimulated: () => gpuInfo().isFallbackAdapter,
  },
  wasm: {
    packages: [`@tensorflow/tfjs-backend-wasm@${version_core}`],
    load: () => import('@tensorflow/tfjs-backend-wasm'),
    adapter: async () => {
      const simd = await env().getAsync('WASM_HAS_SIMD_SUPPORT');
      return `WebAssembly ${simd ? 'with' : 'without'} SIMD on ${processor()}`;
    },
  },
  cpu: {
    packages: [`@tensorflow/tfjs-backend-cpu@${version_core}`],
    load: () => import('@tensorflow/tfjs-backend-cpu'),
    adapter: () => `JavaScript on ${processor()}`,
  },
};

/** The backends that `initBackend` knows. */
export const backendNames = Object.keys(SETUPS) as readonly BackendName[];

/**
 * Sets a tfjs backend up in Node, registers its kernels and makes it the current one.
 *
 * `'auto'` tries every backend and takes the one that runs local linear attention fastest among those that compute the
 * right numbers here. Where nothing can be set up, the promise is rejected and tfjs' current backend stays.
 *
 * ```js
 * import { initBackend } from 'tfjs-lla/node';
 *
 * const { backend, adapter, reason } = await initBackend('auto');
 * ```
 */
export async function initBackend(name: BackendName | 'auto' = 'auto'): Promise<InitializedBackend> {
  const previous = getBackend() as string | undefined;
  try {
    if (name === 'auto') return await initFastest();
    if (!backendNames.includes(name)) {
      const accepted = ['auto', ...backendNames].map((known) => `'${known}'`).join(', ');
      reject('initBackend', 'name', `must be one of ${accepted}, got ${printed(name)}`);
    }
    await start(name);
    return { backend: name, adapter: await SETUPS[name].adapter(), reason: 'asked for by name', skipped: [] };
  } catch (error) {
    if (previous && isRegistered(previous)) await setBackend(previous);
    throw error;
  }
}

async function initFastest(): Promise<InitializedBackend> {
  const working: { backend: BackendName; milliseconds: number }[] = [];
  const skipped: SkippedBackend[] = [];
  for (const backend of backendNames) {
    try {
      await start(backend, { hardwareOnly: true });
      working.push({ backend, milliseconds: await measure() });
    } catch (error) {
      skipped.push({ backend, reason: messageOf(error) });
    }
  }
  const [best, ...others] = working.sort((a, b) => a.milliseconds - b.milliseconds);
  if (working.length === 0) {
    const reasons = skipped.map(({ reason }) => `\n  ${reason}`).join('');
    throw new Error(`initBackend: no backend works here:${reasons}`);
  }
  const shown = (milliseconds: number) => `${milliseconds.toFixed(1)} ms`;
  for (const { backend, milliseconds } of others) {
    const reason = `works, but took ${shown(milliseconds)} where ${best.backend} took ${shown(best.milliseconds)}`;
    skipped.push({ backend, reason });
  }
  await setBackend(best.backend);
  const reason =
    others.length > 0
      ? `fastest of the ${working.length} that work here (local linear attention of 256 tokens: ${shown(best.milliseconds)})`
      : 'the only one that works here';
  return { backend: best.backend, adapter: await SETUPS[best.backend].adapter(), reason, skipped };
}

/** Makes `backend` the current one and convinces itself that it computes. */
async function start(backend: BackendName, { hardwareOnly = false } = {}): Promise<void> {
  const { packages, load, addKernels, isSimulated, adapter } = SETUPS[backend];
  // A device that was lost does not come back: it makes room for a new one.
  if (isLost(backend)) removeBackend(backend);
  const isNew = !isRegistered(backend);
  if (isNew) {
    await load().catch((error: unknown) => {
      const missing = packages.some((name) => isMissing(error, name.replace(/(?<=.)@.*$/, '')));
      const remedy = missing
        ? `needs the package${packages.length > 1 ? 's' : ''} ${packages.join(' and ')}; run: npm install ${packages.join(' ')}`
        : messageOf(error);
      throw new Error(`initBackend: backend '${backend}' ${remedy}`, { cause: error });
    });
  }
  if (!(await setBackend(backend))) {
    throw new Error(`initBackend: backend '${backend}' did not start; tfjs printed why`);
  }
  if (hardwareOnly && isSimulated?.()) {
    const simulator = await adapter();
    if (isNew) removeBackend(backend);
    throw new Error(`initBackend: backend '${backend}' has only ${simulator}, a device simulated in software`);
  }
  await addKernels?.();
  await verify(backend);
}

function isRegistered(backend: string): boolean {
  // tfjs declares this function without the `null` that it returns for a name it does not know.
  return (findBackendFactory(backend) as (() => unknown) | null) !== null;
}

/** Whether the backend's device is gone; only the one that `initBackend` itself made for WebGPU knows. */
function isLost(backend: BackendName): boolean {
  const instance: unknown = findBackend(backend);
  return typeof instance === 'object' && instance !== null && 'isLost' in instance && instance.isLost === true;
}

/** Runs a call whose result is known: a query that scores every key alike averages the values. */
async function verify(backend: BackendName): Promise<void> {
  let computed: number;
  try {
    const mean = tidy(() => {
      const key = tensor3d([1, 2, 3, 4, 5, 6], [1, 3, 2]);
      return softmaxAttention(tensor3d([1, -1], [1, 1, 2]), key, tensor3d([1, 2, 6], [1, 3, 1]));
    });
    [computed] = await mean.data();
    mean.dispose();
  } catch (error) {
    throw new Error(`initBackend: backend '${backend}' fails at a small call: ${messageOf(error)}`, { cause: error });
  }
  // Written so that NaN is wrong, too.
  if (!(Math.abs(computed - 3) <= 1e-4)) {
    throw new Error(`initBackend: backend '${backend}' computes wrong numbers: the mean of 1, 2 and 6 is ${computed}`);
  }
}

/** Milliseconds for local linear attention at the size of a small model; the second run, since the first one sets up. */
async function measure(): Promise<number> {
  const tokens = tensor3d(
    Float32Array.from({ length: 256 * 32 }, (_, i) => Math.sin(i * i)),
    [1, 256, 32],
  );
  let milliseconds = 0;
  for (let run = 0; run < 2; run++) {
    const start = performance.now();
    const out = localLinearAttention(tokens, tokens, tokens, { causal: true });
    await out.data();
    milliseconds = performance.now() - start;
    out.dispose();
  }
  tokens.dispose();
  return milliseconds;
}

/**
 * A file on disk as a source of `loadSafetensors`; it is read as a stream, and opened only then.
 *
 * ```js
 * import { fileSource } from 'tfjs-lla/node';
 * import { loadSafetensors } from 'tfjs-lla/safetensors';
 *
 * await loadSafetensors(model, fileSource('model.safetensors'));
 * ```
 */
export function fileSource(path: string): FileSource {
  if (typeof path !== 'string') reject('fileSource', 'path', `must be a text, got ${printed(path)}`);
  return fileOf(files, path);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Whether `error` is Node's for a package that is not installed, in either module system. */
function isMissing(error: unknown, packageName: string): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false;
  const codes: unknown[] = ['ERR_MODULE_NOT_FOUND', 'MODULE_NOT_FOUND'];
  return codes.includes(error.code) && error.message.includes(`'${packageName}'`);
}
