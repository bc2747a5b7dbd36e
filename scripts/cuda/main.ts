/**
 * Compiles the CUDA kernels for this machine's processor, with an emulator in the place of the GPU, and holds them to the
 * reference in double: `npm run check:cuda`. Needs g++; no GPU and nothing of CUDA. `npm run check:device-code` compiles them for GPUs.
 * `--gpu FOLDER` leaves programs there that do the same with a GPU (scripts/cuda/README.md).
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { Command } from 'commander';
import { inParallel } from '../../src/cli/setup/shell.js';
import { findCompiler } from '../../src/cli/setup/system.js';

const EMULATOR = 'scripts/cuda/emulator';
const GPU = 'scripts/cuda/gpu';
const DRIVER = 'kernels/common/native/cuda_driver_op.cc';
const TESTS = 'test/cuda';

const { gpu } = new Command('npm run check:cuda --')
  .description('Holds the CUDA kernels to the reference in double, in an emulator.')
  .option('--gpu <folder>', 'run nothing: leave programs there that hold the device code to it on a GPU (9.0 or 10.x)')
  .parse()
  .opts<{ gpu?: string }>();

const FLAGS = [
  ...['-std=c++17', '-O1', '-Wall', '-Werror', `-I${EMULATOR}`, '-Ikernels'],
  // The GPU's compiler knows the pragma. Fragments that a precision does not use are declared and left alone.
  ...['-Wno-unknown-pragmas', '-Wno-uninitialized', '-Wno-maybe-uninitialized'],
];

const compiler = await findCompiler();
const folder = gpu ?? mkdtempSync(join(tmpdir(), 'tfjs-lla-cuda-'));
interface Engine {
  readonly name: string;
  readonly flags: readonly string[];
  /** The tests that it is for; absent: all. */
  readonly only?: RegExp;
}

/** One run for each way in which GPUs multiply, with the shared memory that those have; the second for kernels that have both ways. */
const ENGINES: readonly Engine[] = [
  { name: 'mma', flags: ['-DTFJS_LLA_EMULATE_SMALL_SHARED'] },
  { name: 'wgmma', flags: ['-DTFJS_LLA_EMULATE_WARPGROUP'], only: /^(bad_values|emulator|forward|gradient)_/ },
];
/** The plans are those of a GPU with much shared memory; the kernels are the device code's, the emulated ones only give their names. */
const ON_GPU: Engine = { name: 'gpu', flags: ['-static-libstdc++', '-static-libgcc'], only: /^(?!emulator_)/ };
const engines = gpu === undefined ? ENGINES : [ON_GPU];

const emulator = readdirSync(EMULATOR)
  .filter((file) => file.endsWith('.cc'))
  .map((file) => join(EMULATOR, file));
/** What runs kernels: the emulator, whose part with the memory another takes the place of. */
const machine =
  gpu === undefined
    ? emulator
    : [...emulator.filter((file) => basename(file) !== 'memory.cc'), join(GPU, 'memory.cc'), DRIVER, '-ldl'];
const sources = readdirSync(TESTS).filter((file) => file.endsWith('_test.cc'));
const jobs = engines.flatMap((engine) =>
  sources.filter((source) => engine.only?.test(source) ?? true).map((source) => ({ engine, source })),
);

/** Runs a program; its output comes when it has ended, since others run beside it. */
async function output(program: string, args: readonly string[] = []): Promise<{ passed: boolean; text: string }> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { maxBuffer: 2 ** 26 });
    return { passed: true, text: stdout + stderr };
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    return { passed: false, text: stdout + stderr };
  }
}

mkdirSync(folder, { recursive: true });
let failed = 0;
await inParallel(jobs, async ({ engine, source }) => {
  const program = join(folder, `${source.replace('.cc', '')}_${engine.name}`);
  const files = [join(TESTS, source), ...machine];
  const built = await output(compiler, [...FLAGS, ...engine.flags, ...files, '-o', program]);
  const { passed, text } = built.passed && gpu === undefined ? await output(program) : built;
  const outcome = gpu === undefined ? 'passed' : `built as ${program}`;
  console.log(`${text}${source} by ${engine.name}: ${passed ? outcome : 'failed'}`);
  if (!passed) failed++;
});
if (gpu === undefined) rmSync(folder, { recursive: true });
console.log(`tests: ${jobs.length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
