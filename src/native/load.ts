/** Loads TensorFlow into this process: tfjs-node's backend, from its own sources, on the TensorFlow of the set-up. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import util from 'node:util';
import * as core from '@tensorflow/tfjs-core';

import { TENSORFLOW_ENVIRONMENT } from './environment.js';
import { type Installation, readInstallation, TFJS_NODE_VERSION } from './installation.js';

/** The global under which the set-up's stand-in for `@tensorflow/tfjs` finds the project's tfjs. */
const TFJS = Symbol.for('tfjs-lla.tfjs');

type BackendConstructor = new (binding: unknown, packageName: string) => core.KernelBackend;

/**
 * Registers backend `tensorflow` and tfjs-node's kernels with the project's tfjs, as `@tensorflow/tfjs-node` would.
 *
 * tfjs-node's files ask for `@tensorflow/tfjs`. A second copy of it would share the registry of kernels, which is global
 * to the process, but not those of model savers and layers: they get the project's own, by a stand-in package.
 */
export async function loadTensorflow(): Promise<void> {
  try {
    await loadInstallation();
  } catch (error) {
    throw new Error(`could not be loaded: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

async function loadInstallation(): Promise<void> {
  const installation = readInstallation();
  // Their declarations know the versions of this repository only; a user may have others.
  const [needed, present]: string[] = [TFJS_NODE_VERSION, core.version_core];
  if (present !== needed) {
    throw new Error(`tfjs-node ${needed} needs @tensorflow/tfjs-core ${needed}, found ${present}`);
  }
  for (const [name, value] of Object.entries(TENSORFLOW_ENVIRONMENT)) process.env[name] ??= value;
  mendUtil();
  const layers = await import('@tensorflow/tfjs-layers').catch(() => undefined);
  Object.defineProperty(globalThis, TFJS, { value: { ...core, ...layers }, configurable: true });
  register(installation, layers !== undefined);
}

function register({ app, addon, gpu }: Installation, withLayers: boolean): void {
  const load = createRequire(join(app, 'package.json'));
  const distribution = (module: string): unknown => load(`@tensorflow/tfjs-node/dist/${module}`);
  const binding: unknown = load(addon);
  distribution('register_all_kernels');
  const { NodeJSKernelBackend } = distribution('nodejs_kernel_backend') as { NodeJSKernelBackend: BackendConstructor };
  const packageName = gpu ? '@tensorflow/tfjs-node-gpu' : '@tensorflow/tfjs-node';
  core.registerBackend('tensorflow', () => new NodeJSKernelBackend(binding, packageName), 3);
  const { nodeFileSystemRouter } = distribution('io/file_system') as { nodeFileSystemRouter: FileRouter };
  core.io.registerLoadRouter(nodeFileSystemRouter);
  core.io.registerSaveRouter(nodeFileSystemRouter);
  if (withLayers) distribution('callbacks');
}

type FileRouter = Parameters<typeof core.io.registerLoadRouter>[0];

/** Node 22 warns of two functions of `util` that tfjs-node 4.22 calls, and Node 23 has removed them. */
function mendUtil(): void {
  const removed = {
    isArray: (x: unknown) => Array.isArray(x),
    isNullOrUndefined: (x: unknown) => x === null || x === undefined,
  };
  for (const [name, value] of Object.entries(removed)) {
    Object.defineProperty(util, name, { value, configurable: true, enumerable: true, writable: true });
  }
}
