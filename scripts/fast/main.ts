/**
 * `npm run fast`: everything about `precision: 'fast'` on WebGPU that only a GPU tells, in one run and one file: whether every
 * kernel by matrices compiles, errors on calls of all kinds, times beside float32, the same on correlated keys, and times under other tiles.
 * `npm run fast:bundle -- FILE` makes one file of it.
 */
import { writeFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { Command, InvalidArgumentError } from 'commander';

import { hasMatrixFeatures, type MatrixConfig, matricesOf } from '../../kernels/common/webgpu/matrices.js';
import { findAdapter, findGpu } from '../../src/node/dawn.js';
import { positiveNumber, regularExpression } from '../arguments.js';
import { caseName } from '../bench/cases.js';
import { benchDevice } from '../bench/device.js';
import { runCase } from '../bench/run_case.js';
import { suites } from '../bench/suites.js';
import { compileCases } from '../cases/compile_ahead.js';
import { type Checked, checkCalls, checkGradients, fastCalls } from './calls.js';
import { figure, judged, type JudgedRow, lineOf, markdownOf, summaryOf } from './table.js';
import { type Tried, tune, type TuningRun } from './tune.js';
import { type Compilation, compileAll } from './variants.js';

interface Options {
  readonly json?: string;
  readonly markdown?: string;
  readonly only?: RegExp;
  readonly limit: number;
  readonly parts: string;
}

function partsOf(text: string): string {
  if (!/^[cegtku]+$/.test(text)) throw new InvalidArgumentError('It must be some of the letters c, e, g, t, k and u.');
  return text;
}

const program = new Command('npm run fast --')
  .description("Compiles, checks and times the kernels of precision 'fast' on WebGPU.")
  .option('--json <file>', 'write everything to a file, after every step')
  .option('--markdown <file>', 'write the table of times to a file, at the end')
  .option('--only <regex>', 'only kernels, calls and rows of the table whose name it matches', regularExpression)
  .option('--limit <seconds>', 'begin nothing after this', positiveNumber, 110)
  .option(
    '--parts <letters>',
    'c: compile; e: errors of calls; g: of gradients; t: table of times; k: correlated keys; u: other tiles',
    partsOf,
    'cegtku',
  );

function deviceOf({ adapterInfo }: GPUDevice): TuningRun['device'] {
  const { vendor, architecture, device, description } = adapterInfo;
  return { vendor, architecture, device, driver: description };
}

interface Results {
  readonly adapter: string;
  readonly driver?: string;
  readonly matrices: unknown;
  readonly compilations: Compilation[];
  readonly calls: Checked[];
  readonly table: JudgedRow[];
  readonly tuning: TuningRun;
  readonly failures: string[];
}

async function main(): Promise<void> {
  const { json, markdown, only, limit, parts } = program.parse().opts<Options>();
  const end = Date.now() + 1000 * limit;
  const device = await benchDevice('webgpu');
  const backend = tf.backend();
  if (!(backend instanceof WebGPUBackend)) throw new Error('tfjs has no backend webgpu');
  const gpu = backend.device;
  const matrices = matricesOf(gpu);
  const { subgroupMinSize, subgroupMaxSize } = gpu.adapterInfo;
  // A device's own copy of what its adapter tells lacks this list.
  const { info } = await findAdapter(await findGpu());
  const { subgroupMatrixConfigs } = info as GPUAdapterInfo & { subgroupMatrixConfigs?: readonly MatrixConfig[] };
  const { maxStorageBuffersPerShaderStage, maxComputeWorkgroupStorageSize } = gpu.limits;
  const results: Results = {
    adapter: device.adapter,
    driver: device.driver,
    matrices: {
      used: matrices ?? null,
      features: [...gpu.features],
      subgroupSizes: [subgroupMinSize, subgroupMaxSize],
      configs: subgroupMatrixConfigs?.map((one) =>
        [one.componentType, one.resultComponentType, one.M, one.N, one.K].join(' '),
      ),
      limits: { maxStorageBuffersPerShaderStage, maxComputeWorkgroupStorageSize },
    },
    compilations: [],
    calls: [],
    table: [],
    tuning: { date: new Date().toISOString().slice(0, 10), device: deviceOf(gpu), measurements: [] },
    failures: [],
  };
  const save = (): void => {
    if (json !== undefined) writeFileSync(json, `${JSON.stringify(results, null, 1)}\n`);
  };
  console.log(`${device.adapter}; ${device.driver ?? ''}; ${JSON.stringify(results.matrices)}`);
  // Also where the product of the probe was wrong: the compiler's messages tell why.
  if (parts.includes('c') && hasMatrixFeatures(gpu)) {
    const reportCompilation = (one: Compilation): void => {
      const { name, milliseconds, isGood, messages } = one;
      results.compilations.push(one);
      console.log(
        `${isGood ? 'compiles' : 'FAILS'}: ${name}, ${milliseconds} ms${messages.map((m) => `\n  ${m}`).join('')}`,
      );
      save();
    };
    await compileAll(gpu, 'hardware', true, reportCompilation, only);
  }
  const reportCall = (one: Checked): void => {
    results.calls.push(one);
    console.log(`${one.isGood ? 'right' : 'WRONG'}: ${one.name}: ${one.text}, ${one.milliseconds} ms`);
    save();
  };
  if (/[eg]/.test(parts)) {
    const count = await compileCases([...fastCalls(only)].map(([, call]) => call));
    console.log(`${count} shaders of calls compiled`);
  }
  if (parts.includes('e')) await checkCalls(end, reportCall, only);
  if (parts.includes('g')) await checkGradients(end, reportCall, only);
  const settings = { backend: 'webgpu', heads: 32, length: 0, dim: 64, ridge: 1, tolerance: 1e-3, growth: 0 };
  const asked = [
    ...(parts.includes('t') ? suites.fast(settings) : []),
    ...(parts.includes('k') ? suites.correlated(settings) : []),
  ];
  for (const one of asked.filter((row) => only?.test(caseName(row)) ?? true)) {
    if (Date.now() > end) {
      results.failures.push(`${caseName(one)}: not begun in time`);
      continue;
    }
    try {
      results.table.push(judged(await runCase(one, device), results.table));
      console.log(lineOf(results.table[results.table.length - 1]));
    } catch (error) {
      results.failures.push(`${caseName(one)}: ${String(error)}`);
      console.log(results.failures[results.failures.length - 1]);
    }
    save();
  }
  if (asked.length > 0) console.log(summaryOf(results.table));
  if (markdown !== undefined) writeFileSync(markdown, markdownOf(results.table));
  if (parts.includes('u') && matrices) {
    const start = Date.now();
    const reportTried = (one: Tried): void => {
      results.tuning.measurements.push(one);
      const { use, name, milliseconds, error, problems } = one;
      console.log(
        `${((Date.now() - start) / 1000).toFixed(0)} s: ${use}: ${name}: ${JSON.stringify(one.tuning)}: ${figure(milliseconds)} ms, error ${figure(error)} ${problems[0]?.slice(0, 300) ?? ''}`,
      );
      save();
    };
    await tune(device, gpu, end, reportTried, only);
  }
  save();
}

void main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
