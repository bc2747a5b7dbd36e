import { writeFileSync } from 'node:fs';
import { Command, Option } from 'commander';

import { positiveInteger, positiveNumber, regularExpression } from '../arguments.js';
import { type BenchCase, caseName } from './cases.js';
import { DECODE_LENGTHS, runDecode } from './decode.js';
import { DecodeReport } from './decode_report.js';
import { type BenchDevice, benchDevice } from './device.js';
import { within } from './measure.js';
import { COMPOSED_ITERATIONS } from './operators.js';
import { Report } from './report.js';
import { runCase } from './run_case.js';
import { suites, type SuiteSettings } from './suites.js';
import { measureMatMul } from './yardstick.js';

interface Options extends SuiteSettings {
  readonly suite?: string;
  readonly only?: RegExp;
  readonly matmul?: number;
  readonly caseLimit: number;
  readonly limit: number;
  readonly json?: string;
  readonly markdown?: string;
  readonly decode?: boolean;
  readonly lengths?: number[];
}

function positiveIntegers(text: string): number[] {
  return text.split(',').map(positiveInteger);
}

const program = new Command('npm run bench --')
  .description('Times the operators, their errors beside the times; docs/benchmarks/README.md explains the table.')
  .addOption(
    new Option('--backend <name>', 'tfjs backend')
      .choices(['cpu', 'wasm', 'webgpu', 'webgl', 'tensorflow'])
      .default('cpu'),
  )
  .addOption(
    new Option(
      '--suite <name>',
      "what to measure; default: 'issue' on webgpu, 'webgl' on webgl, else 'compare'",
    ).choices(Object.keys(suites)),
  )
  .option('--decode', 'one new token against a cache: every operator by length of the cache, instead of a suite')
  .option('--lengths <n,...>', 'tokens in the cache, for --decode', positiveIntegers)
  .option('--only <regex>', 'only cases whose name it matches', regularExpression)
  .option('--heads <n>', 'heads, for the suite compare', positiveInteger, 8)
  .option('--length <n>', 'queries and keys, for compare', positiveInteger, 512)
  .option('--dim <n>', 'head dimension, for compare and growth', positiveInteger, 64)
  .option('--ridge <x>', 'ridge of local linear and mesa attention, for compare and growth', positiveNumber, 1)
  .option('--tolerance <x>', 'tolerance of local linear attention, for compare and growth', positiveNumber, 1e-3)
  .option('--growth <n>', 'largest length of the suite growth', positiveInteger, 8192)
  .option('--matmul <n>', "size of tfjs' matMul that rates are compared with (a multiple of 4)", positiveInteger)
  .option('--case-limit <seconds>', 'give a case up after this', positiveNumber, 120)
  .option('--limit <seconds>', 'begin no case after this', positiveNumber, 3600)
  .option('--json <file>', 'write the figures to a file, after every case')
  .option('--markdown <file>', 'write the table to a file');

/** `matMul` at a size at which a device of that kind is busy for some milliseconds. */
const matMulSize = ({ isQueued }: BenchDevice, suite: string): number =>
  !isQueued ? 512 : suite === 'quick' ? 256 : 4096;

/** Suites of the backends that have one of their own. */
const DEFAULT_SUITES: Readonly<Partial<Record<string, string>>> = { webgpu: 'issue', webgl: 'webgl' };

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function runAll(cases: readonly BenchCase[], device: BenchDevice, report: Report, options: Options) {
  const start = Date.now();
  // What went wrong may have taken the device with it.
  let isBroken = false;
  for (const one of cases) {
    if (Date.now() - start > 1000 * options.limit) {
      report.fail(caseName(one), `not begun within ${options.limit} s`);
      continue;
    }
    try {
      const measured = isBroken ? { ...one, isFresh: true } : one;
      const measuring = device.runCase ? device.runCase(measured) : runCase(measured, device);
      report.add(await within(measuring, 1000 * options.caseLimit, 'the case'));
      isBroken = false;
    } catch (error) {
      report.fail(caseName(one), [messageOf(error), ...device.takeErrors()].join('; '));
      isBroken = true;
    }
  }
}

const commandLine = (): string => {
  const quoted = process.argv.slice(2).map((text) => (/^[\w./=,-]+$/.test(text) ? text : `'${text}'`));
  return ['npm run bench --', ...quoted].join(' ');
};

/** Prints and writes the table; the exit status. */
function finish(report: Report | DecodeReport, { json, markdown }: Options): number {
  report.printTable();
  if (json !== undefined) console.log(`figures written to ${json}`);
  if (markdown !== undefined) writeFileSync(markdown, `${report.markdown()}\n`);
  return report.failed > 0 ? 1 : 0;
}

/** `--decode`; heads and dimension are those of the issue on a GPU, and the options' elsewhere. */
async function decode(options: Options): Promise<number> {
  const device = await benchDevice(options.backend);
  const isGpu = device.isQueued;
  const isGiven = program.getOptionValueSource('heads') === 'cli';
  const heads = isGpu && !isGiven ? 32 : options.heads;
  const { dim, ridge, tolerance, only, lengths = DECODE_LENGTHS[isGpu ? 'gpu' : 'processor'] } = options;
  const report = new DecodeReport(device, { command: commandLine(), json: options.json });
  await runDecode(device, report, { heads, dim, ridge, tolerance, only, lengths, limit: options.limit });
  if (report.isEmpty) program.error(`error: no step matches ${String(only)}`);
  return finish(report, options);
}

async function main(): Promise<number> {
  const options = program.parse().opts<Options>();
  if (options.decode && options.backend === 'webgl') program.error('error: --decode does not run in a browser yet');
  if (options.decode) return decode(options);
  const suite = options.suite ?? DEFAULT_SUITES[options.backend] ?? 'compare';
  const cases = suites[suite](options).filter((one) => options.only?.test(caseName(one)) ?? true);
  if (cases.length === 0) program.error(`error: no case of the suite ${suite} matches ${String(options.only)}`);
  const device = await benchDevice(options.backend);
  const size = options.matmul ?? matMulSize(device, suite);
  const yardstick = await (device.matMul ? device.matMul(size) : measureMatMul(device, size));
  const report = new Report(device, yardstick, suite, { command: commandLine(), json: options.json });
  report.printSummary();
  console.log(
    `suite ${suite}: ${cases.length} cases; composed local linear attention: ${COMPOSED_ITERATIONS} iterations`,
  );
  await runAll(cases, device, report, options);
  return finish(report, options);
}

void main().then(
  // A device that was given up may keep the process alive.
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
