/** A trained model out of the folder of a run. */
import { join } from 'node:path';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { InputError } from '../common/input_error.js';
import { Adam } from '../trainer/adam.js';
import { loadCheckpoint } from '../trainer/checkpoint.js';
import { readRecord } from '../trainer/record.js';
import { checkpointFile } from '../trainer/run.js';
import { trainedVariables } from '../trainer/weights.js';
import { languageModel, sizeOf } from './model.js';

/** The model of a finished run whose checkpoint was kept, as it was at the run's end. */
export async function modelOfRun(folder: string): Promise<LayersModel> {
  const { key } = await readRecord(join(folder, 'record.json'));
  if (key.model !== 'language_model') throw new InputError(`${folder}: this is a run of ${key.model}`);
  const model = languageModel(key.attention, sizeOf(key.settings));
  const { decay, clip } = key.settings;
  const adam = new Adam(trainedVariables(model), { decay, clip });
  try {
    const found = await loadCheckpoint(checkpointFile(folder), model, adam, key);
    if (found === undefined) throw new InputError(`${folder}: the run kept no checkpoint; --compare keeps none`);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    adam.dispose();
  }
}
