/** `npm run sample`: text from a trained language model. README.md has the commands. */
import { join } from 'node:path';
import { type LayersModel, loadLayersModel } from '@tensorflow/tfjs-layers';
import { Command, InvalidArgumentError, Option } from 'commander';
import '../../src/layers/index.js';
import { directory } from '../../src/node.js';
import { startBackend } from '../common/backend.js';
import { halved } from '../common/halved.js';
import { InputError } from '../common/input_error.js';
import { userPath } from '../common/user_path.js';
import { sampleText } from './sampling.js';
import { modelOfRun } from './trained.js';

interface Options {
  readonly model: string;
  readonly run?: string;
  readonly save?: string;
  readonly half: boolean;
  readonly tokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly seed?: number;
  readonly window?: number;
  readonly backend: 'auto' | 'cpu' | 'wasm' | 'webgpu' | 'tensorflow';
}

/** The model that comes with the project. */
const MODEL = join('models', 'language_model', 'results', 'localLinear');

const count = (text: string): number => {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1) throw new InvalidArgumentError('It must be a whole number of at least 1.');
  return value;
};

const integer = (text: string): number => {
  if (!/^-?\d+$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
};

const temperature = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value < Infinity)) {
    throw new InvalidArgumentError('It must be a number of at least 0.');
  }
  return value;
};

const pathOf = userPath('sample');

const program = new Command('npm run sample --')
  .description('Writes the text that follows a prompt, byte by byte, through the caches of the attention layers.')
  .argument('[prompt]', 'what the text begins with', 'Call me ')
  .option('--model <folder>', 'a saved model (default: the one that comes with the project)', pathOf, MODEL)
  .option(
    '--run <folder>',
    "a run of the trainer instead: its record and checkpoint, such as '.../softmax_seed1'",
    pathOf,
  )
  .option(
    '--save <folder>',
    'save the model there, for browsers and for --model; with --tokens too, text follows',
    pathOf,
  )
  .option('--half', 'with --save: weights as float16, in half the bytes', false)
  .option('--tokens <n>', 'bytes of text', count, 240)
  .option('--temperature <x>', 'divides the logits; 0 takes the likeliest byte each time', temperature, 0.8)
  .option('--top-k <n>', 'only among so many of the likeliest bytes', count)
  .option('--seed <n>', 'the same text each time', integer)
  .option('--window <n>', 'bytes that attention looks back; not for linear and mesa attention', count)
  .addOption(
    new Option('--backend <name>', 'tfjs backend')
      .choices(['auto', 'cpu', 'wasm', 'webgpu', 'tensorflow'])
      .default('auto'),
  );

async function load({ model, run }: Options): Promise<LayersModel> {
  if (run !== undefined) return modelOfRun(run);
  try {
    return await loadLayersModel(directory(model));
  } catch (error) {
    throw new InputError(error instanceof Error ? error.message : String(error));
  }
}

async function main(): Promise<void> {
  program.parse();
  const options = program.opts<Options>();
  const [prompt = 'Call me '] = program.args;
  if (prompt === '') throw new InputError('the prompt must not be empty');
  const { backend, adapter } = await startBackend(options.backend);
  console.error(`backend ${backend} (${adapter})`);
  const model = await load(options);
  if (options.save !== undefined) {
    await model.save(options.half ? halved(directory(options.save)) : directory(options.save));
    console.error(`saved to ${options.save}`);
    if (program.getOptionValueSource('tokens') === 'default') return;
  }
  process.stdout.write(prompt);
  const { tokens: maxTokens, temperature, topK, seed, window } = options;
  const start = performance.now();
  const write = (piece: string) => void process.stdout.write(piece);
  await sampleText(model, prompt, { maxTokens, temperature, topK, seed, window }, write);
  const rate = maxTokens / ((performance.now() - start) / 1000);
  process.stdout.write('\n');
  console.error(`${maxTokens} bytes, ${rate.toPrecision(3)} per second`);
}

void main().then(
  // A GPU device keeps the process alive.
  () => process.exit(0),
  (error: unknown) => {
    console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
