/**
 * Builds the native kernels without TensorFlow, with the sanitizers for addresses and undefined behaviour, and runs them
 * on the sizes of the case table (harness.cc): `npm run check:native`. Needs g++ and the processor's own instructions.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { PROCESSORS } from '../../src/cli/setup/compile.js';
import { findCompiler } from '../../src/cli/setup/system.js';

const KERNELS = 'kernels';
const SANITIZERS = [
  '-fsanitize=address,undefined',
  '-fno-sanitize-recover=all',
  '-fno-omit-frame-pointer',
  '-g',
  '-O1',
];

/** The files that compute: the others speak with TensorFlow. */
const sources = readdirSync(KERNELS, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\bnative\b.*\.cc$/.test(file) && !file.endsWith('_op.cc'))
  .map((file) => join(KERNELS, file));

/** Whether this machine can run what is compiled with these flags (`-mavx512f` and so on). */
function canRun(flags: readonly string[]): boolean {
  const known = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].trim().split(' ') ?? [];
  const needed = flags.filter((flag) => /^-m(avx|fma)/.test(flag)).map((flag) => flag.slice(2));
  return needed.every((name) => known.includes(name));
}

const compiler = await findCompiler();
const folder = mkdtempSync(join(tmpdir(), 'tfjs-lla-native-'));
let failed = false;
for (const [processor, flags] of Object.entries(PROCESSORS)) {
  if (!canRun(flags)) {
    console.error(`${processor}: this processor cannot run it`);
    failed = true;
    continue;
  }
  const program = join(folder, processor);
  const args = [...['-std=c++17', '-Wall', '-Wno-psabi', `-I${KERNELS}`, `-DTFJS_LLA_ISA=${processor}`], ...flags];
  const start = performance.now();
  const built = spawnSync(
    compiler,
    [...args, ...SANITIZERS, 'scripts/native/harness.cc', ...sources, '-lpthread', '-o', program],
    { stdio: 'inherit' },
  );
  const { status } = built.status === 0 ? spawnSync(program, { stdio: 'inherit' }) : built;
  const seconds = ((performance.now() - start) / 1000).toFixed(0);
  console.log(`${processor}: ${status === 0 ? 'clean' : 'failed'}, ${seconds} s on ${availableParallelism()} cores`);
  failed ||= status !== 0;
}
rmSync(folder, { recursive: true });
process.exitCode = failed ? 1 : 0;
