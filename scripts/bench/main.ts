import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';

import * as tf from '@tensorflow/tfjs-core';
import Table from 'cli-table3';
import { Command, InvalidArgumentError } from 'commander';

import { solverCounts } from '../../kernels/common/cpu/solve.js';
import { peakScratchBytes } from '../../kernels/common/cpu/workspace.js';
import { type BackendName, initBackend } from '../../src/node.js';
import { normals, relativeError, timeInTurn } from './measure.js';
import { benchOperators, type BenchOperator, runComposed } from './operators.js';

/** One line of the comparison with the same operator composed of tfjs operators. */
interface Comparison {
  operator: string;
  shape: string;
  milliseconds: number;
  runs: number;
  error: number;
  /** Of conjugate gradient per row, mean and most; rows solved directly. Empty for other operators. */
  solver: string;
  composedMilliseconds: number | null;
  composedError: number | null;
  /** Composed over own kernel. */
  speedup: number | null;
}

/** One line of growth with n. */
interface Growth {
  operator: string;
  n: number;
  milliseconds: number;
  /** Time over that of half the length: 4 is quadratic, 2 linear. */
  timeRatio: number | null;
  scratchBytes: number;
  scratchRatio: number | null;
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value <= 0) throw new InvalidArgumentError('It must be a positive integer.');
  return value;
}

function positiveNumber(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new InvalidArgumentError('It must be a positive number.');
  return value;
}

const program = new Command('npm run bench --')
  .description(
    'Times every operator against the same made of tfjs operators, in one run, with errors beside the times.',
  )
  .option('--backend <name>', 'cpu or wasm', 'cpu')
  .option('--heads <n>', 'heads', positiveInteger, 8)
  .option('--length <n>', 'queries and keys', positiveInteger, 512)
  .option('--dim <n>', 'head dimension', positiveInteger, 64)
  .option('--ridge <x>', 'ridge of local linear and mesa attention', positiveNumber, 1)
  .option('--tolerance <x>', 'tolerance of local linear attention', positiveNumber, 1e-3)
  .option('--operator <name...>', 'only these operators')
  .option('--growth <n>', 'largest length of the table of growth with n; 0 leaves it out', Number, 8192)
  .option('--json <file>', 'write the figures to a file')
  .parse();

const options = program.opts<{
  backend: BackendName;
  heads: number;
  length: number;
  dim: number;
  ridge: number;
  tolerance: number;
  operator?: string[];
  growth: number;
  json?: string;
}>();

async function compare(operator: BenchOperator): Promise<Comparison> {
  const { heads, length, dim } = options;
  const [query, key, value, probe] = normals(4, [heads, length, dim]);
  const inputs = { query, key, value, probe };
  const dims = { batch: heads, heads, Tq: length, Tk: length, D: dim, Dv: dim };
  const data = { query: query.dataSync(), key: key.dataSync(), value: value.dataSync(), probe: probe.dataSync() };
  // The reference is slow; one head tells the error.
  const oneHead = { ...dims, batch: 1, heads: 1 };
  const expected = operator.reference({ dims: oneHead, ...data });
  const head = (x: tf.Tensor): tf.Tensor => tf.slice(x, [0, 0, 0], [1, length, dim]);
  const own = (): tf.Tensor => operator.run(inputs, operator.options);
  const composed = (): tf.Tensor => runComposed(operator, inputs);
  solverCounts();
  const error = await relativeError(
    tf.tidy(() => head(own())),
    expected,
  );
  const { rows, iterations, most, direct } = solverCounts();
  const solver = rows > 0 ? `${(iterations / rows).toFixed(1)}, ${String(most)}; ${String(direct)}` : '';
  const composedError = operator.isCompared
    ? await relativeError(
        tf.tidy(() => head(composed())),
        expected,
      )
    : null;
  const [time, composedTime] = await timeInTurn(operator.isCompared ? [own, composed] : [own]);
  tf.dispose(inputs);
  return {
    operator: operator.name,
    shape: `${String(heads)} x ${String(length)} x ${String(dim)} causal`,
    milliseconds: time.median,
    runs: time.runs,
    error,
    solver,
    composedMilliseconds: operator.isCompared ? composedTime.median : null,
    composedError,
    speedup: operator.isCompared ? composedTime.median / time.median : null,
  };
}

async function grow(operator: BenchOperator): Promise<Growth[]> {
  const rows: Growth[] = [];
  for (let n = 1024; n <= options.growth; n *= 2) {
    const [query, key, value, probe] = normals(4, [1, n, options.dim]);
    const run = (): tf.Tensor => operator.run({ query, key, value, probe }, operator.options);
    peakScratchBytes();
    const [{ minimum }] = await timeInTurn([run], 2, 0);
    const scratchBytes = peakScratchBytes();
    tf.dispose([query, key, value, probe]);
    const previous = rows.at(-1);
    rows.push({
      operator: operator.name,
      n,
      milliseconds: minimum,
      timeRatio: previous ? minimum / previous.milliseconds : null,
      scratchBytes,
      scratchRatio: previous ? scratchBytes / previous.scratchBytes : null,
    });
  }
  return rows;
}

function printTable(head: string[], rows: readonly (readonly string[])[]): void {
  const table = new Table({ head, style: { head: [], border: [] } });
  table.push(...rows.map((row) => [...row]));
  console.log(table.toString());
}

const { backend, adapter } = await initBackend(options.backend);
const processor = cpus()[0]?.model ?? 'unknown processor';
console.log(`backend ${backend} (${adapter}), ${processor}, Node ${process.version}, ridge ${String(options.ridge)}`);
console.log(`local linear attention: own kernel at tolerance ${String(options.tolerance)}, composed with 8 iterations`);
console.log('errors: relative L2 of the output against float64; times: median of runs in turn');

const all = benchOperators(options.dim, options.tolerance, options.ridge);
const unknown = options.operator?.find((name) => all.every((operator) => operator.name !== name));
if (unknown !== undefined)
  program.error(`error: no operator ${unknown}; there are ${all.map((o) => o.name).join(', ')}`);
const chosen = all.filter(({ name }) => options.operator?.includes(name) ?? true);

const comparisons: Comparison[] = [];
for (const operator of chosen) comparisons.push(await compare(operator));
printTable(
  [
    'operator',
    'shape',
    'ms',
    'error',
    'iterations: mean, most; direct rows',
    'composed ms',
    'error',
    'speed-up',
    'runs',
  ],
  comparisons.map((row) => [
    row.operator,
    row.shape,
    row.milliseconds.toFixed(1),
    row.error.toExponential(1),
    row.solver,
    row.composedMilliseconds?.toFixed(1) ?? '',
    row.composedError?.toExponential(1) ?? '',
    row.speedup?.toFixed(2) ?? '',
    String(row.runs),
  ]),
);

const growth: Growth[] = [];
// Scratch memory is counted by the cpu kernels only.
if (backend === 'cpu' && options.growth > 0) {
  for (const operator of chosen) growth.push(...(await grow(operator)));
  printTable(
    ['operator', 'n (1 head)', 'ms', 'time ratio', 'scratch MiB', 'scratch ratio'],
    growth.map((row) => [
      row.operator,
      String(row.n),
      row.milliseconds.toFixed(1),
      row.timeRatio?.toFixed(2) ?? '',
      (row.scratchBytes / 2 ** 20).toFixed(2),
      row.scratchRatio?.toFixed(2) ?? '',
    ]),
  );
}

if (options.json !== undefined) {
  const report = { backend, adapter, processor, node: process.version, options, comparisons, growth };
  writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
  console.log(`figures written to ${options.json}`);
}
