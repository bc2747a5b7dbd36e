import { statfsSync } from 'node:fs';
import { run, SetupError } from './shell.js';

/** The oldest glibc that TensorFlow's wheels for Linux run on (their tag is `manylinux_2_27`). */
const OLDEST_GLIBC = 2.27;

const OLDEST_NODE = 20;

/** The oldest GCC that compiles TensorFlow's headers (C++17 with all of its library). */
const OLDEST_GCC = 9;

/** Refuses a machine on which TensorFlow for Node cannot work. */
export function checkSystem(): void {
  const { platform, arch, versions } = process;
  if (platform !== 'linux' || arch !== 'x64') {
    const reason = `is made for Linux on x86-64, and this is ${platform} ${arch}`;
    throw new SetupError(`setup tensorflow ${reason}. Use backend 'wasm' or 'cpu' here: npx tfjs-lla doctor`);
  }
  if (Number.parseInt(versions.node) < OLDEST_NODE) {
    throw new SetupError(`Node ${OLDEST_NODE} or later is needed, this is ${versions.node}; see https://nodejs.org`);
  }
  const glibc = glibcVersion();
  if (glibc === undefined) {
    throw new SetupError('TensorFlow needs glibc, and this system has another C library (Alpine: use a Debian image)');
  }
  const [major, minor] = glibc.split('.').map(Number);
  if (major + minor / 100 < OLDEST_GLIBC) {
    throw new SetupError(
      `TensorFlow needs glibc ${OLDEST_GLIBC} or later, this system has ${glibc}: a newer one is needed`,
    );
  }
}

/** The version of glibc that Node runs on; `undefined` on another C library. */
function glibcVersion(): string | undefined {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return header.glibcVersionRuntime;
}

/** The C++ compiler: `$CXX` or `g++`. */
export async function findCompiler(): Promise<string> {
  const compiler = process.env.CXX ?? 'g++';
  const { status, stdout, missing } = await run(compiler, ['-dumpfullversion', '-dumpversion']);
  if (missing || status !== 0) {
    throw new SetupError(
      `a C++ compiler is needed and '${compiler}' ${missing ? 'is not there' : 'does not run'}: install g++ ` +
        '(Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++) or name one in the variable CXX',
    );
  }
  if (Number.parseInt(stdout) < OLDEST_GCC) {
    throw new SetupError(`g++ ${OLDEST_GCC} or later is needed, '${compiler}' is ${stdout.trim()}`);
  }
  return compiler;
}

/** Refuses to start what would not fit on the disk of `folder`. */
export function checkSpace(folder: string, gibibytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = (bavail * bsize) / 2 ** 30;
  if (free < gibibytes) {
    throw new SetupError(
      `${gibibytes} GiB of free space are needed in ${folder}, there are ${free.toFixed(1)}; ` +
        'make room, or name another folder in the variable TFJS_LLA_CACHE',
    );
  }
}
