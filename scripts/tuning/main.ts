/**
 * `npm run fast:tune -- [FILE ...]`: puts measurements of part `u` of `npm run fast` (its `--json`) into the repository's, and writes
 * the table that the kernels choose by.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { format, resolveConfig } from 'prettier';
import type { TuningRun } from '../fast/tune.js';
import { moduleOf, withRun } from './choose.js';

/** All measurements, one run a device. */
const MEASUREMENTS = 'docs/benchmarks/webgpu_tuning.json';
const TABLE = 'kernels/common/webgpu/measured_tunings.ts';

interface Measurements {
  readonly runs: readonly TuningRun[];
}

const read = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));

const { args } = new Command('npm run fast:tune --')
  .description('Chooses the settings of the WebGPU kernels by matrices from measurements.')
  .argument('[files...]', 'measurements to add: what `npm run fast -- --parts u --json FILE` wrote')
  .parse();

let { runs } = read(MEASUREMENTS) as Measurements;
for (const file of args) {
  const { tuning } = read(file) as { tuning?: TuningRun };
  if (tuning === undefined || tuning.measurements.length === 0) {
    throw new Error(`${file} has no measurements of part u of npm run fast`);
  }
  runs = withRun(runs, tuning);
}

/** Writes a file as the formatter of the repository wants it. */
async function write(file: string, text: string): Promise<void> {
  const options = await resolveConfig(file);
  writeFileSync(file, await format(text, { ...options, filepath: file }));
}

await write(MEASUREMENTS, JSON.stringify({ runs }));
await write(TABLE, moduleOf(runs));
for (const { device, measurements } of runs) {
  console.log(`${device.vendor} ${device.device || device.architecture}: ${measurements.length} measurements`);
}
console.log(`written ${TABLE}`);
