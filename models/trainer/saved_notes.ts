/** What a saved model says of the run that it comes from (`userDefinedMetadata` of its `model.json`). */
import { InputError } from '../common/input_error.js';
import { type Attention, ATTENTIONS, type Settings } from './experiment.js';

export interface SavedNotes {
  /** The experiment's name. */
  readonly model: string;
  readonly attention: Attention;
  readonly settings: Settings;
}

/** The notes of a model that is loaded; `source` is what messages call it. */
export function savedNotes(notes: unknown, name: string, source: string): SavedNotes {
  const { model, attention, settings } = (notes ?? {}) as Partial<SavedNotes>;
  const isComplete = ATTENTIONS.some((one) => one === attention) && typeof settings === 'object';
  if (model !== name || attention === undefined || settings === undefined || !isComplete) {
    throw new InputError(
      `${source}: no notes of a run of ${name} are with the model; save it from the run's folder again`,
    );
  }
  return { model, attention, settings };
}
