/**
 * Runs the tests and prints `tests: N passed, N failed` as the very last line.
 *
 * Three runs, one after the other, so that a GPU driver that crashes takes no other tests with it: `cpu` and `wasm` with
 * everything that needs no device, then `webgpu` in Node, then in a browser, both on SwiftShader where that can be had.
 * A fourth one, on `tensorflow`, which has to be set up first, runs only where `--only` names it.
 */
import { Command } from 'commander';
import { TENSORFLOW_ENVIRONMENT } from '../../src/native/environment.js';
import { swiftShaderEnvironment } from '../chromium/swiftshader.js';
import { unusable } from '../chromium/unpack.js';
import { runJest, type Counts } from './jest.js';
import { runKarma } from './karma.js';

const program = new Command('npm test --')
  .description(
    'Runs the tests. What is not an option below goes to jest (browser: to jasmine) and needs --only, or means host.',
  )
  .option('--full', 'the whole cross product of the case table')
  .option('--only <part>', 'host (cpu, wasm and what needs no device), webgpu, browser or tensorflow')
  .option('--gpu', "webgpu and browser on this machine's own GPU, not on SwiftShader")
  .allowUnknownOption()
  .allowExcessArguments()
  .parse();

const { full, only, gpu } = program.opts<{ full?: true; only?: string; gpu?: true }>();

async function runWebGPU(args: readonly string[]): Promise<Counts> {
  const reason = gpu ? "the machine's own GPU was asked for" : unusable();
  if (reason !== undefined) console.error(`webgpu runs on this machine's own GPU: ${reason}`);
  return runJest('jest.webgpu.config.js', args, reason === undefined ? await swiftShaderEnvironment() : process.env);
}

/** Runs the tests on the native kernels for this processor; with `--full` npm test's part of the table on those for older ones. */
function runTensorflow(args: readonly string[]): Counts {
  // Set here: jest's sandbox has an environment of its own, and TensorFlow reads the process'.
  const env = { ...TENSORFLOW_ENVIRONMENT, ...process.env };
  const run = (more: readonly string[], changes: NodeJS.ProcessEnv): Counts =>
    runJest('jest.tensorflow.config.js', more, { ...env, ...changes });
  const older = (most: string) => run(['_attention.test', ...args], { TFJS_LLA_TEST: '', TFJS_LLA_MAX_ISA: most });
  return sum([run(args, {}), ...(full ? ['generic', 'avx2'].map(older) : [])]);
}

function sum(counts: readonly Counts[]): Counts {
  const total = (of: (part: Counts) => number) => counts.reduce((all, part) => all + of(part), 0);
  return { passed: total(({ passed }) => passed), failed: total(({ failed }) => failed) };
}

/** Parts that need what `npm install` does not bring. */
const onRequest: readonly string[] = ['tensorflow'];

const parts: Readonly<Record<string, (args: readonly string[]) => Counts | Promise<Counts>>> = {
  host: (args) => runJest('jest.config.js', args, process.env),
  webgpu: runWebGPU,
  browser: runKarma,
  tensorflow: runTensorflow,
};

if (only !== undefined && !(only in parts)) {
  program.error(`error: --only must be one of ${Object.keys(parts).join(', ')}, got '${only}'`);
}
if (full) process.env.TFJS_LLA_TEST = 'full';
if (gpu) process.env.TFJS_LLA_GPU = '1';

// A selection of tests made for one part would find nothing in another.
const selected = only ?? (program.args.length > 0 ? 'host' : undefined);
const counts: Counts[] = [];
for (const [name, run] of Object.entries(parts)) {
  if (selected === undefined ? onRequest.includes(name) : selected !== name) continue;
  try {
    counts.push(await run(program.args));
  } catch (error) {
    // It could not even start: the other parts run all the same.
    console.error(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    counts.push({ passed: 0, failed: 1 });
  }
}
const { passed, failed } = sum(counts);
console.log(`tests: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
