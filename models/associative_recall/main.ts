/** `npm run recall`: turns a run into a saved model that a page loads, and says how well it recalls. README.md has the command. */
import { loadLayersModel } from '@tensorflow/tfjs-layers';
import { Command } from 'commander';
import '../../src/layers/index.js';
import { directory } from '../../src/node.js';
import { startBackend } from '../common/backend.js';
import { halved } from '../common/halved.js';
import { InputError } from '../common/input_error.js';
import { userPath } from '../common/user_path.js';
import { Random } from '../trainer/random.js';
import { trainedModel } from '../trainer/trained.js';
import { recallBatch } from './data.js';
import { recallModel } from './model.js';
import { Recaller } from './recall.js';

const pathOf = userPath('recall');

/** Sequences that the share of right answers is taken of. */
const ASKED = 64;

async function main(): Promise<void> {
  const program = new Command('npm run recall --')
    .description('Saves the model of a run of associative_recall for browsers, and says how many values it recalls.')
    .requiredOption('--run <folder>', "a run of the trainer, such as '.../localLinear_seed1'", pathOf)
    .requiredOption('--save <folder>', 'where the model is saved', pathOf)
    .option('--half', 'weights as float16, in half the bytes', false)
    .parse();
  const { run, save, half } = program.opts<{ run: string; save: string; half: boolean }>();
  await startBackend('cpu');
  const model = await trainedModel(
    run,
    'associative_recall',
    ({ attention, settings }) => recallModel(attention, settings).model,
  );
  await model.save(half ? halved(directory(save)) : directory(save));
  // What was saved is what is asked.
  const recaller = new Recaller(await loadLayersModel(directory(save)), save);
  const { pairs, vocabulary } = recaller.sizes;
  const random = new Random('associative_recall', 'saved');
  let right = 0;
  for (let row = 0; row < ASKED; row++) {
    const { tokens, answers } = recallBatch(random, { batch: 1, pairs, vocabulary });
    const said = await recaller.answer(tokens);
    right += said.filter(({ token }, i) => token === answers[i]).length;
  }
  console.log(`saved to ${save}; ${right} of ${ASKED * pairs} values recalled in ${ASKED} new sequences`);
}

main().catch((error: unknown) => {
  console.error(error instanceof InputError ? `error: ${error.message}` : error);
  process.exitCode = 1;
});
