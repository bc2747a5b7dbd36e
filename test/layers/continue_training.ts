/**
 * Runs in a process of its own: loads every model of a directory, continues its training and prints what it has learned
 * as JSON. Arguments: the directory and the number of epochs.
 */
import '@tensorflow/tfjs-backend-cpu';
import { setBackend } from '@tensorflow/tfjs-core';
import { loadLayersModel } from '@tensorflow/tfjs-layers';
import { join } from 'node:path';
import { directory } from '../../src/directory.js';
import { kinds } from './kinds.js';
import { fingerprint, forms, train } from './training_models.js';

const [folder, epochs] = process.argv.slice(2);
await setBackend('cpu');
const learned: Record<string, unknown> = {};
for (const kind of kinds) {
  for (const form of forms) {
    const model = await loadLayersModel(directory(join(folder, `${kind}_${form}`)));
    const loaded = await fingerprint(model, kind, form);
    const losses = await train(model, kind, form, Number(epochs));
    learned[`${kind}_${form}`] = { loaded, losses, continued: await fingerprint(model, kind, form) };
  }
}
process.stdout.write(JSON.stringify(learned));
