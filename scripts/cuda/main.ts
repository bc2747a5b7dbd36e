/**
 * Compiles the CUDA kernels for this machine's processor, with an emulator in the place of the GPU, and holds them to the
 * reference in double: `npm run check:cuda`. Needs g++; no GPU and nothing of CUDA. `npm run check:device-code` compiles them for GPUs.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findCompiler } from '../../src/cli/setup/system.js';

const EMULATOR = 'scripts/cuda/emulator';
const TESTS = 'test/cuda';

const FLAGS = [
  ...['-std=c++17', '-O1', '-Wall', '-Werror', `-I${EMULATOR}`, '-Ikernels'],
  // The GPU's compiler knows the pragma. Fragments that a precision does not use are declared and left alone.
  ...['-Wno-unknown-pragmas', '-Wno-uninitialized', '-Wno-maybe-uninitialized'],
];

const compiler = await findCompiler();
const folder = mkdtempSync(join(tmpdir(), 'tfjs-lla-cuda-'));
let failed = false;
/** One run for each way in which GPUs multiply, with the shared memory that those have. */
const ENGINES = [
  { name: 'mma', flags: ['-DTFJS_LLA_EMULATE_SMALL_SHARED'] },
  { name: 'wgmma', flags: ['-DTFJS_LLA_EMULATE_WARPGROUP'] },
];
const sources = readdirSync(TESTS).filter((file) => file.endsWith('_test.cc'));
for (const { engine, source } of ENGINES.flatMap((engine) => sources.map((source) => ({ engine, source })))) {
  const program = join(folder, source.replace('.cc', ''));
  const files = [join(TESTS, source), join(EMULATOR, 'emulator.cc')];
  const built = spawnSync(compiler, [...FLAGS, ...engine.flags, ...files, '-o', program], { stdio: 'inherit' });
  const { status } = built.status === 0 ? spawnSync(program, { stdio: 'inherit' }) : built;
  console.log(`${source} by ${engine.name}: ${status === 0 ? 'passed' : 'failed'}`);
  failed ||= status !== 0;
}
rmSync(folder, { recursive: true });
process.exitCode = failed ? 1 : 0;
