/**
 * `npm run fast:tune -- [FILE ...]`: puts measurements of part `u` of `npm run fast` (its `--json`) into the repository's, and writes
 * the table that the kernels choose by.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
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

/** The measurements in a file of part `u`. */
function measured(file: string): TuningRun {
  let report: { tuning?: TuningRun } | null;
  try {
    report = read(file) as typeof report;
  } catch (problem) {
    throw new InvalidArgumentError((problem as Error).message);
  }
  if (!report?.tuning?.measurements.length) {
    throw new InvalidArgumentError('It has no measurements of part u of npm run fast.');
  }
  return report.tuning;
}

const { processedArgs } = new Command('npm run fast:tune --')
  .description('Chooses the settings of the WebGPU kernels by matrices from measurements.')
  .argument(
    '[files...]',
    'measurements to add: what `npm run fast -- --parts u --json FILE` wrote',
    (file: string, others: readonly TuningRun[]) => [...others, measured(file)],
    [],
  )
  .parse();

const added = processedArgs[0] as readonly TuningRun[];
const runs = added.reduce(withRun, (read(MEASUREMENTS) as Measurements).runs);

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
