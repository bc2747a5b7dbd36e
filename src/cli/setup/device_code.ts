/** Compiles the CUDA kernels with NVIDIA's compiler from pip, which needs neither a GPU nor an installed CUDA. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { capabilityOf, type CudaDevice, type DeviceCode, OLDEST_CAPABILITY } from '../../native/device_code.js';
import { checkPip, download, python, unpack } from './pip.js';
import { inParallel, produce, run, SetupError, tail } from './shell.js';
import { checkSpace } from './system.js';

/** A compiler of CUDA 12, whose code all drivers run that TensorFlow's wheel itself runs on. */
const VERSION = '12.9.86';

/** The compiler, CUDA's headers, and those of them that come with nvcc. */
const PACKAGES = [
  `nvidia-cuda-nvrtc-cu12==${VERSION}`,
  'nvidia-cuda-runtime-cu12==12.9.79',
  `nvidia-cuda-nvcc-cu12==${VERSION}`,
];
const NEEDED = String.raw`nvidia/(cuda_nvrtc/lib/libnvrtc[^/]*|cuda_(runtime|nvcc)/include/.*)$`;

/** The compute capabilities that this compiler makes machine code for, from the oldest that the kernels run on. */
const KNOWN = [80, 86, 87, 89, 90, 100, 101, 103, 120, 121];

/** What is compiled where there is no GPU: the two kinds that the kernels have code of their own for. */
export const USUAL_ARCHITECTURES: readonly string[] = ['sm_80', 'sm_90a'];

/** Compiles one file. Prints what the compiler says on the error stream. */
const COMPILE = `
import ctypes, sys
library, source, name, output, *options = sys.argv[1:]
nvrtc = ctypes.CDLL(library)
nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p

def check(status):
    if status != 0:
        sys.exit('NVRTC: ' + nvrtc.nvrtcGetErrorString(status).decode())

def text(size, get):
    length = ctypes.c_size_t()
    check(size(program, ctypes.byref(length)))
    buffer = ctypes.create_string_buffer(length.value)
    check(get(program, buffer))
    return buffer.raw

program = ctypes.c_void_p()
with open(source, 'rb') as file:
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), file.read(), name.encode(), 0, None, None))
status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*[o.encode() for o in options]))
sys.stderr.write(text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).rstrip(b'\\0').decode())
check(status)
is_ptx = any(option.startswith('--gpu-architecture=compute') for option in options)
kind = 'PTX' if is_ptx else 'CUBIN'
with open(output, 'wb') as file:
    file.write(text(getattr(nvrtc, f'nvrtcGet{kind}Size'), getattr(nvrtc, f'nvrtcGet{kind}')))
`;

/** The folder with the compiler and the headers, which are fetched into `home` where they are not there. */
export async function provideDeviceCompiler(home: string): Promise<{ compiler: string; fetched: boolean }> {
  const compiler = join(home, `cuda-compiler-${VERSION}`);
  if (existsSync(compiler)) return { compiler, fetched: false };
  await checkPip("NVIDIA's compiler", 'set TensorFlow up without --gpu');
  mkdirSync(home, { recursive: true });
  checkSpace(home, 1);
  const wheels = join(home, `wheels-cuda-compiler-${VERSION}`);
  await download(wheels, PACKAGES);
  await produce(compiler, (temporary) => unpack(wheels, NEEDED, temporary));
  rmSync(wheels, { recursive: true });
  return { compiler, fetched: true };
}

/** What to compile for a GPU. One that is newer than the compiler gets PTX, which its driver compiles. */
export function architectureFor(device: CudaDevice): string {
  const capability = capabilityOf(device);
  if (capability < OLDEST_CAPABILITY) {
    throw new SetupError(
      `the CUDA kernels need a GPU of compute capability 8.0 or newer, ${device.name} has ${device.major}.${device.minor}`,
    );
  }
  if (KNOWN.includes(capability)) return capability === 90 ? 'sm_90a' : `sm_${capability}`;
  const generation = KNOWN.filter((known) => known < capability).at(-1) ?? OLDEST_CAPABILITY;
  return `compute_${generation}`;
}

/** What the compiler needs to know of one compilation. */
export interface DeviceCompilation {
  readonly compiler: string;
  /** Folder that `#include "..."` begins at: `kernels/`. */
  readonly kernels: string;
  readonly source: string;
  readonly architecture: string;
  readonly output: string;
}

/** Compiles one file to machine code or PTX; returns what the compiler says of it: registers, spills, warnings. */
export async function compileDeviceFile(compilation: DeviceCompilation): Promise<string> {
  const { compiler, kernels, source, architecture, output } = compilation;
  const nvidia = join(compiler, 'nvidia');
  const includes = [kernels, join(nvidia, 'cuda_runtime/include'), join(nvidia, 'cuda_nvcc/include')];
  const options = [
    `--gpu-architecture=${architecture}`,
    '--std=c++17',
    '-default-device',
    ...(architecture.startsWith('sm_') ? ['--ptxas-options=-v'] : []),
    ...includes.map((folder) => `--include-path=${folder}`),
  ];
  const library = join(nvidia, 'cuda_nvrtc/lib/libnvrtc.so.12');
  const title = relative(kernels, source);
  let log = '';
  await produce(output, async (temporary) => {
    const { status, stderr } = await run(python(), ['-c', COMPILE, library, source, title, temporary, ...options]);
    log = stderr;
    if (status === 0) return;
    throw new SetupError(`NVIDIA's compiler could not compile ${title} for ${architecture}:\n${tail(stderr)}`);
  });
  return log;
}

/** The name of the file that a source below `kernels/` is compiled to. */
export const compiledName = (source: string): string => source.replaceAll('/', '-').replace(/\.cu$/, '.bin');

/** The files with device code below a folder. */
export function deviceSources(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  return files.filter((file) => file.endsWith('.cu')).sort();
}

/** Compiles the device code of this package for some architectures; what is there already is not compiled again. */
export async function buildDeviceCode(
  { home, compiler, packageRoot }: { home: string; compiler: string; packageRoot: string },
  architectures: readonly string[],
  progress: (compiled: string) => void,
): Promise<DeviceCode[]> {
  const kernels = join(packageRoot, 'kernels');
  const key = keyOf(kernels);
  const sources = deviceSources(kernels);
  if (sources.length === 0) throw new SetupError(`no device code in ${kernels}: the package is not whole`);
  const codes = architectures.map((architecture) => {
    const folder = join(home, 'cuda', `${architecture}-${key}`);
    return { architecture, files: sources.map((source) => join(folder, compiledName(source))) };
  });
  const missing = codes.flatMap(({ architecture, files }) =>
    files.map((output, i) => ({ architecture, output, title: sources[i], source: join(kernels, sources[i]) })),
  );
  await inParallel(
    missing.filter(({ output }) => !existsSync(output)),
    async ({ title, ...compilation }) => {
      await compileDeviceFile({ compiler, kernels, ...compilation });
      progress(`${title} for ${compilation.architecture}`);
    },
  );
  return codes;
}

/** Of all that the device code is made of, and of the compiler. */
function keyOf(kernels: string): string {
  const read = readdirSync(kernels, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.(cu|cuh|h)$/.test(file))
    .sort();
  const hash = createHash('sha256').update(VERSION);
  for (const file of read) hash.update(file).update(readFileSync(join(kernels, file)));
  return hash.digest('hex').slice(0, 16);
}
