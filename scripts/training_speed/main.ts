/** `npm run train:speed`: steps of training per second, of one small transformer with each attention. */
import { setUpForTraining } from '../../models/common/backend.js';
import { access } from 'node:fs/promises';
import { enableProdMode } from '@tensorflow/tfjs-core';
import { Command, Option } from 'commander';
import { writeAtomically } from '../../models/common/files.js';
import { type Attention, ATTENTIONS } from '../../models/trainer/experiment.js';
import { positiveInteger, positiveNumber } from '../arguments.js';
import { benchDevice } from '../bench/device.js';
import { measureSpeed, type Shape, type Span, type Speed } from './measure.js';
import { markdownOf, readRuns, type Run, withRun, writeRuns } from './report.js';

interface Options extends Shape, Span {
  readonly backend: string;
  readonly attention: readonly Attention[];
  readonly json?: string;
  readonly markdown?: string;
  readonly render?: boolean;
}

const program = new Command('npm run train:speed --')
  .description('Times steps of training (batch, loss, gradients, Adam) of a small transformer with each attention.')
  .addOption(
    new Option('--backend <name>', 'tfjs backend').choices(['cpu', 'wasm', 'webgpu', 'tensorflow']).default('webgpu'),
  )
  .addOption(
    new Option('--attention <name...>', 'attentions to time').choices(ATTENTIONS).default(ATTENTIONS, 'all five'),
  )
  .option('--dim <n>', 'features of a token', positiveInteger, 256)
  .option('--heads <n>', 'heads', positiveInteger, 4)
  .option('--layers <n>', 'blocks', positiveInteger, 4)
  .option('--context <n>', 'tokens of a window', positiveInteger, 1024)
  .option('--batch <n>', 'windows of a step', positiveInteger, 8)
  .option('--warm-up <n>', 'steps before the timed ones', positiveInteger, 3)
  .option('--steps <n>', 'most steps that are timed', positiveInteger, 50)
  .option('--seconds <x>', 'begin no more steps after this, for each attention', positiveNumber, 5)
  .option('--json <file>', 'add the figures to this file')
  .option('--markdown <file>', 'write the tables of all runs in --json to this file')
  .option('--render', 'measure nothing: print the tables of --json');

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

/** What was asked for, without the files. */
function commandLine(): string {
  const args = process.argv.slice(2);
  const isFile = (at: number) => ['--json', '--markdown'].includes(args[at]);
  return ['npm run train:speed --', ...args.filter((_, at) => !isFile(at) && !isFile(at - 1))].join(' ');
}

async function measure(options: Options): Promise<Run> {
  const { dim, heads, layers, context, batch, warmUp, steps, seconds } = options;
  const shape = { dim, heads, layers, context, batch };
  enableProdMode();
  const device = await benchDevice(options.backend);
  setUpForTraining(device.backend);
  console.log(`${device.backend}: ${device.adapter}`);
  const speeds: Speed[] = [];
  for (const attention of options.attention) {
    const speed = await measureSpeed(attention, shape, { warmUp, steps, seconds });
    const errors = device.takeErrors();
    if (errors.length > 0) throw new Error(`${attention}: ${errors.join('; ')}`);
    console.log(`${attention}: ${speed.stepsPerSecond.toPrecision(3)} steps/s (${speed.steps} steps)`);
    speeds.push(speed);
  }
  return {
    backend: device.backend,
    adapter: device.adapter,
    driver: device.driver ?? '',
    date: new Date().toISOString().slice(0, 10),
    command: commandLine(),
    node: process.version,
    shape,
    warmUp,
    speeds,
  };
}

async function main(): Promise<void> {
  const options = program.parse().opts<Options>();
  const { json, markdown, render = false } = options;
  if (options.dim % (2 * options.heads) !== 0) program.error('error: --dim must be an even multiple of --heads');
  if (render && json === undefined) program.error('error: --render needs --json, the file to read');
  if (markdown !== undefined && json === undefined) program.error('error: --markdown needs --json beside it');
  const before = json !== undefined && (render || (await exists(json))) ? await readRuns(json) : [];
  const runs = render ? before : withRun(before, await measure(options));
  if (json !== undefined && !render) await writeRuns(json, runs);
  console.log(`\n${markdownOf(runs)}`);
  if (markdown !== undefined) await writeAtomically(markdown, `# Training speed\n\n${markdownOf(runs)}\n`);
}

void main().then(
  // A GPU device keeps the process alive.
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
