/**
 * Compiles the CUDA kernels for every kind of GPU that they have code for: `npm run check:device-code`.
 * Needs neither a GPU nor CUDA, but pip. Prints what each kernel takes; code that spills registers is named, not refused; a warning is.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import {
  compiledName,
  compileDeviceFile,
  deviceSources,
  provideDeviceCompiler,
  USUAL_ARCHITECTURES,
} from '../../src/cli/setup/device_code.js';
import { inParallel, SetupError } from '../../src/cli/setup/shell.js';
import { cacheFolder } from '../../src/native/installation.js';

/** The usual ones, and PTX as a GPU gets it that is newer than the compiler. */
const ARCHITECTURES = [...USUAL_ARCHITECTURES, 'compute_121'];

const program = new Command('npm run check:device-code --')
  .description('Compiles the CUDA kernels for every kind of GPU.')
  .option('--architecture <names...>', 'for these alone, such as sm_90a', ARCHITECTURES)
  .option('--keep <folder>', 'leave what is compiled there, in a folder per architecture')
  .parse();
const { architecture, keep } = program.opts<{ architecture: string[]; keep?: string }>();

/** What the compiler says of each entry point: `name: 40 registers, 0 bytes of spills`. */
function summary(log: string): string[] {
  const entries = log.split(/Compiling entry function /).slice(1);
  return entries.map((text) => {
    const name = /^'([^']+)'/.exec(text)?.[1] ?? '?';
    const registers = /Used (\d+) registers/.exec(text)?.[1] ?? '?';
    const spilled = [...text.matchAll(/(\d+) bytes spill/g)].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
    return `${name}: ${registers} registers, ${spilled} bytes of spills`;
  });
}

/** What else it says: every line with a warning. */
function warnings(log: string): string[] {
  return log.split('\n').filter((line) => /warning/i.test(line));
}

/** Products of warpgroups that it could not leave running: slower, as right. */
function serialized(log: string): string[] {
  return log.split('\n').filter((line) => /performance loss/i.test(line));
}

const { compiler } = await provideDeviceCompiler(cacheFolder());
const folder = keep === undefined ? mkdtempSync(join(tmpdir(), 'tfjs-lla-cuda-')) : resolve(keep);
const sources = deviceSources('kernels');
if (sources.length === 0) throw new Error('there is no device code in kernels');
const jobs = architecture.flatMap((name) => sources.map((source) => ({ name, source })));
let failed = 0;
await inParallel(jobs, async ({ name, source }) => {
  const output = join(folder, name, compiledName(source));
  const start = performance.now();
  try {
    const log = await compileDeviceFile({
      compiler,
      kernels: 'kernels',
      source: join('kernels', source),
      architecture: name,
      output,
    });
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    console.log(`${source} for ${name}: ${seconds} s`);
    for (const line of [...summary(log), ...serialized(log), ...warnings(log)]) console.log(`  ${line}`);
    if (warnings(log).length > 0) failed++;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    failed++;
    console.error(error.message);
  }
});
if (keep === undefined) rmSync(folder, { recursive: true });
console.log(`tests: ${jobs.length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
