import type { LayersModel } from '@tensorflow/tfjs-layers';
import { trainedModel } from '../trainer/trained.js';
import { languageModel, sizeOf } from './model.js';

/** The model of a finished run whose checkpoint was kept, as it was at the run's end. */
export const modelOfRun = (folder: string): Promise<LayersModel> =>
  trainedModel(folder, 'language_model', ({ attention, settings }) => languageModel(attention, sizeOf(settings)));
