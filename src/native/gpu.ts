import { execFile } from 'node:child_process';

/** Loads the addon, which makes TensorFlow look for its devices. */
const ASK = 'require(process.argv[1]).isUsingGpuDevice()';

/**
 * Why a TensorFlow that is built for GPUs computes without one: the libraries that it did not find, by its own log. It
 * says so only where it is asked to before it is loaded, hence in a process of its own.
 */
export function missingGpuParts(addon: string): Promise<string> {
  const env = { ...process.env, TF_CPP_MIN_LOG_LEVEL: '0', TF_CPP_VMODULE: 'dso_loader=1' };
  return new Promise((resolve) => {
    execFile(process.execPath, ['-e', ASK, addon], { env, timeout: 60_000 }, (_, __, log) => resolve(readLog(log)));
  });
}

/** The reason in a log of TensorFlow's. */
function readLog(log: string): string {
  const names = [...log.matchAll(/Could not load dynamic library '([^']+)'/g)].map(([, name]) => name);
  const libraries = [...new Set(names)];
  if (libraries.includes('libcuda.so.1')) return 'the NVIDIA driver is missing (libcuda.so.1)';
  if (libraries.length > 0) return `missing: ${libraries.join(', ')}`;
  const failure = /failed call to cuInit: (.*)/.exec(log)?.[1];
  return failure === undefined ? 'TensorFlow found none and gave no reason' : `the driver says: ${failure.trim()}`;
}
