/** A trained model out of the folder of a run. */
import { join } from 'node:path';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { InputError } from '../common/input_error.js';
import { Adam } from './adam.js';
import { loadCheckpoint } from './checkpoint.js';
import { readRecord, type RunKey } from './record.js';
import { checkpointFile } from './run.js';
import type { SavedNotes } from './saved_notes.js';
import { trainedVariables } from './weights.js';

/**
 * The model of a finished run whose checkpoint was kept, as it was at the run's end. What `save` writes of it holds the
 * run's attention and settings, too.
 *
 * @param build Makes the model, on the current backend.
 */
export async function trainedModel(
  folder: string,
  name: string,
  build: (key: RunKey) => LayersModel,
): Promise<LayersModel> {
  const { key } = await readRecord(join(folder, 'record.json'));
  if (key.model !== name) throw new InputError(`${folder}: this is a run of ${key.model}`);
  const model = build(key);
  const { attention, settings } = key;
  const { decay, clip } = settings;
  const adam = new Adam(trainedVariables(model), { decay, clip });
  try {
    const found = await loadCheckpoint(checkpointFile(folder), model, adam, key);
    if (found === undefined) throw new InputError(`${folder}: the run kept no checkpoint; --compare keeps none`);
    model.setUserDefinedMetadata({ model: name, attention, settings } satisfies SavedNotes);
    return model;
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    adam.dispose();
  }
}
