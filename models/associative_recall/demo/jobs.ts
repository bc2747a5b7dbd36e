/** What the part of the page *Use it* about associative recall asks its worker to do. */
import { type Addresses, loadSaved, namesOf, type OnBytes } from '../../../demos/engine/saved_models.js';
import type { Attention } from '../../trainer/experiment.js';
import { Random } from '../../trainer/random.js';
import '../../../src/layers/index.js';
import { recallBatch } from '../data.js';
import { type Answer, Recaller } from '../recall.js';

const FILES = {
  models: import.meta.glob('../results/*/model.json', { query: '?url', import: 'default', eager: true }) as Addresses,
  weights: import.meta.glob('../results/*/*.bin', { query: '?url', import: 'default', eager: true }) as Addresses,
};

export interface LoadedRecaller {
  readonly attention: Attention;
  readonly pairs: number;
  readonly vocabulary: number;
}

export interface Recalled {
  /** Keys and values in turn, then the keys again: `3 pairs` of them. */
  readonly tokens: Int32Array;
  /** The values that belong to the last keys. */
  readonly right: Int32Array;
  readonly said: readonly Answer[];
}

let recaller: Recaller | undefined;

function current(): Recaller {
  if (recaller === undefined) throw new Error('no model is loaded');
  return recaller;
}

export const jobs = {
  names: () => namesOf(FILES.models),

  async load(name: string, onBytes: OnBytes): Promise<LoadedRecaller> {
    recaller?.dispose();
    recaller = undefined;
    recaller = new Recaller(await loadSaved(name, FILES, onBytes), name);
    return { attention: recaller.notes.attention, ...recaller.sizes };
  },

  /** A list of pairs that follows from a number, and what the model says when it is asked for each. */
  async recall(seed: number): Promise<Recalled> {
    const { sizes } = current();
    const { tokens, answers } = recallBatch(new Random('associative_recall', 'page', seed), { batch: 1, ...sizes });
    return { tokens, right: answers, said: await current().answer(tokens) };
  },

  /** What the token at a position looks at. */
  weights: (tokens: Int32Array, position: number): Promise<Float32Array> => current().weights(tokens, position),
};
