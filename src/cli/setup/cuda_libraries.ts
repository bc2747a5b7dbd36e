/** The CUDA libraries of pip: TensorFlow opens them by name, in folders that its own framework library lists. */
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { frameworkLibrary } from '../../native/installation.js';
import { run } from './shell.js';

/** What TensorFlow 2.21 opens before it registers a GPU; without one of them it goes on on the processor. */
const OPENED = [
  'libcudart.so.12',
  'libcublas.so.12',
  'libcublasLt.so.12',
  'libcufft.so.11',
  'libcusolver.so.11',
  'libcusparse.so.12',
  'libcudnn.so.9',
];

/** Links a library into a folder in which TensorFlow looks for libraries: it leaves out cusolver's own. */
export function exposeCusolver(site: string): void {
  symlinkSync('../../cusolver/lib/libcusolver.so.11', join(site, 'nvidia/cublas/lib/libcusolver.so.11'));
}

/**
 * What keeps TensorFlow from its CUDA libraries: those that lie in no folder where it looks, and those that lack a
 * library of their own. Needs no GPU.
 */
export async function cudaLibraryProblems(tensorflow: string): Promise<string[]> {
  const framework = frameworkLibrary(tensorflow);
  const listed = readFileSync(framework, 'latin1').matchAll(/\$ORIGIN\/(\.\.\/nvidia\/\w+\/lib)/g);
  const folders = [...new Set([...listed].map(([, folder]) => join(dirname(framework), folder)))];
  const problems: string[] = [];
  for (const name of OPENED) {
    const library = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
    if (library === undefined) {
      problems.push(`${name} is not there`);
      continue;
    }
    const { status, stdout, stderr, missing } = await run('ldd', [library]);
    if (missing) problems.push(`${name} cannot be checked: there is no program 'ldd'`);
    for (const [, needed] of stdout.matchAll(/^\s*(\S+) => not found$/gm)) problems.push(`${name} lacks ${needed}`);
    if (!missing && status !== 0) problems.push(`${name} is no library: ${(stderr || stdout).trim()}`);
  }
  return problems;
}
