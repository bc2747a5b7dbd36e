/** What is kept of a run: everything that its table and plot need, and what it was run on. */
import { readJson, writeAtomically } from '../common/files.js';
import { InputError } from '../common/input_error.js';
import type { Attention, Curve, Json, Metrics, Settings } from './experiment.js';

/** Goes up when records or checkpoints of an older trainer can no longer be used. */
export const VERSION = 1;

/** What names a run: two runs that agree in it give the same result on the same backend. */
export interface RunKey {
  readonly version: number;
  readonly model: string;
  readonly attention: Attention;
  readonly seed: number;
  readonly backend: string;
  readonly settings: Settings;
}

export interface Evaluation {
  readonly step: number;
  readonly metrics: Metrics;
}

/** Why a run came to its end: all steps, no better for long enough, good enough, or a loss that is no number. */
export type Ending = 'steps' | 'patience' | 'target' | 'diverged';

/** What the steps so far gave; the same, however often the run was interrupted. */
export interface Progress {
  readonly step: number;
  /** Mean loss of the steps since the entry before, by step. */
  readonly losses: readonly (readonly [step: number, loss: number])[];
  readonly evaluations: readonly Evaluation[];
}

export interface RunRecord extends Progress {
  readonly key: RunKey;
  readonly ending: Ending;
  /** Of the last evaluation. */
  readonly metrics: Metrics;
  /** Number of trained weights. */
  readonly weights: number;
  /** Of an experiment without training. */
  readonly curves?: Readonly<Record<string, Curve>>;
  readonly notes?: Json;
  /** What differs from run to run. */
  readonly made: {
    readonly adapter: string;
    readonly date: string;
    readonly node: string;
    readonly command: string;
    /** Time spent on steps and evaluations, over all interruptions. */
    readonly seconds: number;
  };
}

/** What of `found` is not as `wanted`, in words; nothing where both name the same run. */
export function difference(found: RunKey, wanted: RunKey): string | undefined {
  if (found.version !== wanted.version) return `version ${found.version} of the trainer, not ${wanted.version}`;
  for (const part of ['model', 'attention', 'seed', 'backend'] as const) {
    if (found[part] !== wanted[part]) return `${part} ${found[part]}, not ${wanted[part]}`;
  }
  const names = new Set([...Object.keys(found.settings), ...Object.keys(wanted.settings)]);
  for (const name of names) {
    const [was, is] = [found.settings[name], wanted.settings[name]] as (number | undefined)[];
    if (was !== is) return `setting ${name}=${String(was)}, not ${String(is)}`;
  }
  return undefined;
}

const isRecord = (value: unknown): value is RunRecord =>
  typeof value === 'object' && value !== null && 'key' in value && 'metrics' in value && 'ending' in value;

export async function readRecord(file: string): Promise<RunRecord> {
  const value = await readJson(file);
  if (!isRecord(value)) throw new InputError(`${file}: this is not the record of a run`);
  if (value.key.version !== VERSION) {
    throw new InputError(
      `${file}: the record is of version ${value.key.version} of the trainer; this one reads ${VERSION}`,
    );
  }
  return value;
}

export async function writeRecord(file: string, record: RunRecord): Promise<void> {
  await writeAtomically(file, `${JSON.stringify(record)}\n`);
}
