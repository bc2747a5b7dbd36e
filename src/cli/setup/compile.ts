import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { frameworkLibrary } from '../../native/installation.js';
import { inParallel, produce, run, SetupError, tail } from './shell.js';

/** One run of the compiler: `sources` become the object file or library `output`. */
interface Compilation {
  /** What it makes, for the reader. */
  readonly title: string;
  readonly output: string;
  readonly args: readonly string[];
}

/** Where things are. */
export interface BuildContext {
  readonly compiler: string;
  readonly home: string;
  readonly tensorflow: string;
  readonly app: string;
}

const COMMON = ['-std=c++17', '-fPIC', '-fvisibility=hidden', '-DNDEBUG', '-w'];

/** The processors that the kernels are compiled for; which one serves is decided when they run (native/isa.h). */
export const PROCESSORS: Readonly<Record<string, readonly string[]>> = {
  generic: [],
  avx2: ['-mavx2', '-mfma'],
  avx512: ['-mavx512f', '-mavx512vl', '-mavx512dq', '-mavx512bw', '-mfma', '-mprefer-vector-width=512'],
};

function headers({ tensorflow, app }: BuildContext): string[] {
  return ['-isystem', join(tensorflow, 'include'), '-isystem', join(app, 'node_modules/node-api-headers/include')];
}

/** Identifies the TensorFlow that something is built against: another one at the same place is another one. */
function identity({ compiler, tensorflow }: BuildContext): string {
  const { size, mtimeMs } = statSync(frameworkLibrary(tensorflow));
  return JSON.stringify([compiler, tensorflow, size, mtimeMs]);
}

function hashOf(...parts: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}

/** Builds tfjs-node's addon from the package's own sources; returns its path. */
export async function buildAddon(context: BuildContext): Promise<{ path: string; built: boolean }> {
  const { home, tensorflow, app } = context;
  const binding = join(app, 'node_modules/@tensorflow/tfjs-node/binding');
  const sources = ['tfjs_backend.cc', 'tfjs_binding.cc'].map((file) => join(binding, file));
  const args = [
    ...[...COMMON, '-O2', '-DNAPI_VERSION=8', '-shared', ...headers(context), ...sources],
    ...[`-L${tensorflow}`, '-l:libtensorflow_cc.so.2', '-l:libtensorflow_framework.so.2', `-Wl,-rpath,${tensorflow}`],
  ];
  const path = join(home, 'addon', `tfjs_binding-${hashOf(identity(context), ...args)}.node`);
  if (existsSync(path)) return { path, built: false };
  await compile(context, { title: "tfjs-node's addon", output: path, args });
  return { path, built: true };
}

/** Builds the library of this package's operations from its own sources (`kernels/**\/native` and the headers of `kernels/**\/cuda`); returns its path. */
export async function buildOps(
  context: BuildContext,
  packageRoot: string,
  progress: (done: number, total: number) => void,
): Promise<{ path: string; built: boolean }> {
  const { home, tensorflow } = context;
  const kernels = join(packageRoot, 'kernels');
  const files = readdirSync(kernels, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\b(native|cuda)\b.*\.(cc|h)$/.test(file))
    .sort();
  if (files.length === 0) throw new SetupError(`no C++ sources in ${kernels}: the package is not whole`);
  const texts = files.map((file) => readFileSync(join(kernels, file), 'utf8'));
  const key = hashOf(identity(context), JSON.stringify(PROCESSORS), ...files, ...texts);
  const path = join(home, 'ops', `tfjs_lla-${key}.node`);
  if (existsSync(path)) return { path, built: false };
  const objects = join(home, 'ops', `objects-${key}`);
  mkdirSync(objects, { recursive: true });
  const jobs = files
    .filter((file) => file.endsWith('.cc'))
    .flatMap((file) => compilations(context, kernels, join(kernels, file), objects));
  let done = 0;
  progress(done, jobs.length);
  await inParallel(jobs, async (job) => {
    if (!existsSync(job.output)) await compile(context, job);
    progress(++done, jobs.length);
  });
  const library = ['-l:libtensorflow_framework.so.2', `-Wl,-rpath,${tensorflow}`, '-Wl,--exclude-libs,ALL'];
  const args = ['-shared', ...jobs.map(({ output }) => output), `-L${tensorflow}`, ...library];
  await compile(context, { title: 'the op library', output: path, args });
  rmSync(objects, { recursive: true });
  return { path, built: true };
}

/** `*_op.cc` speaks with TensorFlow and is compiled once; every other file computes, and is compiled per processor. */
function compilations(context: BuildContext, kernels: string, source: string, objects: string): Compilation[] {
  const name = basename(source, '.cc');
  const title = relative(kernels, source);
  const object = (suffix: string) => join(objects, `${name}${suffix}.o`);
  if (name.endsWith('_op')) {
    const args = [...COMMON, '-O2', `-I${kernels}`, ...headers(context), '-c', source];
    return [{ title, output: object(''), args }];
  }
  return Object.entries(PROCESSORS).map(([processor, flags]) => {
    const args = [
      ...COMMON,
      '-O3',
      '-fno-math-errno',
      ...flags,
      `-DTFJS_LLA_ISA=${processor}`,
      `-I${kernels}`,
      '-c',
      source,
    ];
    return { title: `${title} for ${processor}`, output: object(`-${processor}`), args };
  });
}

async function compile({ compiler }: BuildContext, { title, output, args }: Compilation): Promise<void> {
  await produce(output, async (temporary) => {
    const { status, stderr } = await run(compiler, [...args, '-o', temporary]);
    if (status === 0) return;
    const errors = stderr.split('\n').filter((line) => /error|undefined|cannot/i.test(line));
    throw new SetupError(
      `${compiler} could not build ${title}:\n${tail(errors.length > 0 ? errors.join('\n') : stderr)}`,
    );
  });
}
