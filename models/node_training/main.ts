/**
 * `npm run train:node`: a small transformer of tf.layers with local linear attention, trained with `model.fit` in Node on the
 * backend that is asked for. Prints the loss of every step and the steps per second.
 */
import { appendFile } from 'node:fs/promises';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { Command, Option } from 'commander';
import type { BackendName } from '../../src/node.js';
import { layers } from '../../src/layers/index.js';
import { startBackend } from '../common/backend.js';
import { userPath } from '../common/user_path.js';
import { count } from '../trainer/options.js';
import { Random } from '../trainer/random.js';
import { waveBatch } from '../waves/data.js';

interface Options {
  readonly backend: BackendName;
  readonly steps: number;
  readonly batch: number;
  readonly context: number;
  readonly dim: number;
  readonly heads: number;
  readonly layers: number;
  readonly json?: string;
}

/** Steps that are not timed: kernels are compiled and memory is found. */
const WARM_UP = 5;

/** Numbers of a wave that the model is given at each position. */
const SEEN = 4;

const program = new Command('npm run train:node --')
  .description('Trains a small transformer with local linear attention by model.fit, and times it.')
  .addOption(
    new Option('--backend <name>', 'tfjs backend')
      .choices(['cpu', 'wasm', 'webgpu', 'tensorflow'])
      .default('tensorflow'),
  )
  .option('--steps <n>', `steps, of which the first ${WARM_UP} are not timed`, count, 60)
  .option('--batch <n>', 'sequences of a step', count, 8)
  .option('--context <n>', 'tokens of a sequence', count, 512)
  .option('--dim <n>', 'features of a token', count, 256)
  .option('--heads <n>', 'heads', count, 4)
  .option('--layers <n>', 'blocks', count, 4)
  .option('--json <file>', 'append the run to this file, a JSON object a line', userPath('train:node'));

/** Waves to be forecast, the same on every backend: x [sequences, context, 4], y [sequences, context, 1]. */
function waves(number: number, context: number): { x: tf.Tensor3D; y: tf.Tensor3D } {
  const { windows, next } = waveBatch(new Random(1), { batch: number, length: context, lags: SEEN });
  return { x: tf.tensor3d(windows, [number, context, SEEN]), y: tf.tensor3d(next, [number, context, 1]) };
}

/** The model, with the same weights to begin with on every backend. */
function makeModel({ dim, heads, layers: depth, context }: Options): tfl.Sequential {
  const block = (index: number) =>
    layers.transformerBlock({
      name: `block_${index}`,
      attention: 'localLinear',
      numHeads: heads,
      keyDim: dim / heads,
      useCausalMask: true,
      rotary: true,
      ridge: 1,
      trainableRidge: true,
    });
  const model = tfl.sequential({
    layers: [
      tfl.layers.dense({ name: 'embed', units: dim, inputShape: [context, SEEN] }),
      ...Array.from({ length: depth }, (_, index) => block(index)),
      tfl.layers.dense({ name: 'forecast', units: 1 }),
    ],
  });
  const given = model.getWeights();
  // Matrices are drawn by tfjs' own generator from a seed, which does not depend on the backend; the rest begins at zeros or ones.
  const drawn = given.map((weight, seed) =>
    weight.rank < 2 ? weight.clone() : tf.randomNormal(weight.shape, 0, dim ** -0.5, 'float32', seed + 1),
  );
  model.setWeights(drawn);
  tf.dispose(drawn);
  return model;
}

async function main(): Promise<void> {
  const options = program.parse().opts<Options>();
  const { steps, batch, context, dim, heads, json } = options;
  if (dim % (2 * heads) !== 0)
    program.error(`error: --dim must be an even multiple of --heads, got ${dim} for ${heads} heads`);
  if (steps <= WARM_UP)
    program.error(`error: --steps must be more than the ${WARM_UP} that are not timed, got ${steps}`);
  // A file that cannot be written to is an error now, not after the training.
  if (json !== undefined) await appendFile(json, '');
  const { backend, adapter } = await startBackend(options.backend);
  console.log(`${backend}: ${adapter}`);
  const model = makeModel(options);
  model.compile({ optimizer: tf.train.adam(1e-3), loss: 'meanSquaredError' });
  const { x, y } = waves(steps * batch, context);
  const losses: number[] = [];
  let start = 0;
  const onBatchEnd = (step: number, logs?: tfl.Logs) => {
    const loss = Number(logs?.loss);
    losses.push(loss);
    if (step + 1 === WARM_UP) start = performance.now();
    if (step % 5 === 0) console.log(`step ${step}: loss ${loss.toFixed(5)}`);
  };
  // tfjs-layers does not export the enum of what it prints.
  const quiet: object = { verbose: 0 };
  await model.fit(x, y, { ...quiet, epochs: 1, batchSize: batch, shuffle: false, callbacks: { onBatchEnd } });
  const stepsPerSecond = ((steps - WARM_UP) / (performance.now() - start)) * 1000;
  console.log(`${stepsPerSecond.toFixed(2)} steps per second, last loss ${losses[losses.length - 1].toFixed(5)}`);
  const run = {
    ...options,
    json: undefined,
    adapter,
    date: new Date().toISOString().slice(0, 10),
    stepsPerSecond,
    losses,
  };
  if (json !== undefined) await appendFile(json, `${JSON.stringify(run)}\n`);
  tf.dispose([x, y]);
  model.dispose();
}

void main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
