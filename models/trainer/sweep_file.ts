/** What a sweep writes and a comparison reads. */
import { readJson, writeAtomically } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import type { Attention, Experiment, Settings } from './experiment.js';
import type { RunRecord } from './record.js';

export interface Trial {
  readonly attention: Attention;
  readonly set: Settings;
  /** Of the first metric; nothing where the run diverged before an evaluation. */
  readonly value: number | null;
  readonly ending: RunRecord['ending'];
}

/** Settings by the attention that they suit. */
export type Chosen = Readonly<Partial<Record<Attention, Settings>>>;

export interface SweepFile {
  readonly model: string;
  readonly backend: string;
  readonly adapter: string;
  readonly date: string;
  readonly command: string;
  readonly metric: string;
  readonly trials: readonly Trial[];
  readonly chosen: Chosen;
}

const isSweep = (value: unknown): value is SweepFile =>
  typeof value === 'object' && value !== null && 'model' in value && 'chosen' in value && 'trials' in value;

export async function readChosen(file: string, experiment: Experiment): Promise<Chosen> {
  const value = await readJson(file);
  if (!isSweep(value)) throw new InputError(`${file}: this is not a file of --sweep`);
  if (value.model !== experiment.name) {
    throw new InputError(`${file}: the sweep is of ${value.model}, not of ${experiment.name}`);
  }
  return value.chosen;
}

export async function writeSweep(file: string, sweep: SweepFile): Promise<void> {
  await writeAtomically(file, `${JSON.stringify(sweep, null, 1)}\n`);
}
