/** What `npx tfjs-lla setup tensorflow` has put on this machine, and where: the one thing that it and `initBackend` share. */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

import type { DeviceCode } from './device_code.js';

/** The command that makes an installation. */
export const SETUP_COMMAND = 'npx tfjs-lla setup tensorflow';

/** Raised with every change of the operators' interface, so that no kernel meets an op library of another version. */
const OP_INTERFACE = 5;

/** The version of tfjs-node whose sources are built; it fits this version of tfjs-core. */
export const TFJS_NODE_VERSION = '4.22.0';

/** A working TensorFlow for Node. All paths are absolute. */
export interface Installation {
  /** Folder of the Python package `tensorflow`: its libraries and headers. */
  readonly tensorflow: string;
  readonly tensorflowVersion: string;
  /** Whether this TensorFlow is built for GPUs. */
  readonly gpu: boolean;
  /** Folder in whose `node_modules` tfjs-node's JavaScript lies. */
  readonly app: string;
  /** tfjs-node's native addon, built against `tensorflow`. */
  readonly addon: string;
  /** The library of this package's operators, built against `tensorflow`; absent where it could not be built. */
  readonly ops?: string;
  /** Why `ops` is absent. */
  readonly opsProblem?: string;
  /** The CUDA kernels, compiled; absent where TensorFlow is not built for GPUs or they could not be compiled. */
  readonly cuda?: readonly DeviceCode[];
  /** Why `cuda` is absent although TensorFlow is built for GPUs. */
  readonly cudaProblem?: string;
}

/** The folder that holds everything that the set-up fetches and builds. `TFJS_LLA_CACHE` moves it. */
export function cacheFolder(): string {
  const { TFJS_LLA_CACHE, XDG_CACHE_HOME } = process.env;
  const home = TFJS_LLA_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tfjs-lla');
  return join(home, 'tensorflow');
}

/** The file that describes the installation. The set-up's own check names another one in `TFJS_LLA_INSTALLATION`. */
export function installationFile(): string {
  return process.env.TFJS_LLA_INSTALLATION ?? join(cacheFolder(), `installation-${OP_INTERFACE}.json`);
}

/** The installation of this machine; throws, and says what to do, where there is none or one that has lost files. */
export function readInstallation(): Installation {
  const file = installationFile();
  if (!existsSync(file)) throw new Error(`TensorFlow is not set up on this machine; run: ${SETUP_COMMAND}`);
  const installation = JSON.parse(readFileSync(file, 'utf8')) as Installation;
  const { tensorflow, app, addon, ops, cuda = [] } = installation;
  const parts = [frameworkLibrary(tensorflow), app, addon, ...(ops === undefined ? [] : [ops])];
  for (const path of [...parts, ...cuda.flatMap(({ files }) => files)]) {
    if (!existsSync(path)) throw new Error(`the installation of TensorFlow has lost ${path}; run: ${SETUP_COMMAND}`);
  }
  return installation;
}

/** The library that every op library needs. */
export function frameworkLibrary(tensorflow: string): string {
  return join(tensorflow, 'libtensorflow_framework.so.2');
}
