import { REGRESSORS, type Settings as Chosen } from '../forecast/model.js';
import { InputError } from '../common/input_error.js';
import type { Curve, Measured, Settings, UntrainedExperiment } from '../trainer/experiment.js';
import { Random } from '../trainer/random.js';
import { type SegmentedError, segmentedError } from './model.js';

/** Lengths of a segment and numbers of an input that are tried, each with the other as in the settings. */
const SEGMENTS = [32, 64, 128, 256, 512];
const DIMS = [8, 16, 32, 64];

/** Positions that share a point of the curve. */
const BIN = 16;

function binned(byPosition: Float32Array, first: number): Curve {
  const at: number[] = [];
  const values: number[] = [];
  for (let from = 0; from + BIN <= byPosition.length; from += BIN) {
    at.push(first + from + (BIN - 1) / 2);
    values.push(byPosition.subarray(from, from + BIN).reduce((sum, value) => sum + value, 0) / BIN);
  }
  return { label: 'error', at, values };
}

const note = ({ settings, error }: SegmentedError) => ({ ...(settings as Record<keyof Chosen, number>), error });

async function measure(attention: string, settings: Settings, seed: number): Promise<Measured> {
  const regressor = REGRESSORS.find(({ name }) => name === attention);
  if (regressor === undefined) throw new InputError(`test_time_regression has no regression by ${attention}`);
  const { batch, length: count, segment, dim, spread } = settings;
  const run = (change: { segment?: number; dim?: number }, isShared = false) => {
    const random = (purpose: string) => new Random('test_time_regression', purpose, seed);
    const sizes = { batch, count, segment, dim, ...change };
    return segmentedError(regressor, sizes, { spread, isShared }, { choice: random('choice'), test: random('test') });
  };
  const separate = await run({});
  const shared = await run({}, true);
  const bySegment = new Map<number, SegmentedError>();
  for (const length of SEGMENTS.filter((one) => one <= count)) bySegment.set(length, await run({ segment: length }));
  const byDim = new Map<number, SegmentedError>();
  for (const one of DIMS.filter((one) => one <= settings.largest)) byDim.set(one, await run({ dim: one }));
  return {
    metrics: { separate: separate.error, shared: shared.error },
    curves: {
      position: binned(separate.byPosition, 1),
      segment: {
        label: 'error',
        at: [...bySegment.keys()].map(Math.log2),
        values: [...bySegment.values()].map(({ error }) => error),
      },
      // Times the dimension: the mean square of a target is one over it.
      dim: {
        label: 'error',
        at: [...byDim.keys()].map(Math.log2),
        values: [...byDim].map(([one, { error }]) => one * error),
      },
    },
    notes: {
      separate: note(separate),
      shared: note(shared),
      segment: Object.fromEntries([...bySegment].map(([key, value]) => [key, note(value)])),
      dim: Object.fromEntries([...byDim].map(([key, value]) => [key, note(value)])),
    },
  };
}

export const experiment: UntrainedExperiment = {
  name: 'test_time_regression',
  title: 'Test-time regression',
  attentions: ['localLinear', 'softmax', 'linear', 'mesa'],
  metrics: [
    { name: 'separate', label: 'error, a region per segment', better: 'lower' },
    { name: 'shared', label: 'error, one region for all', better: 'lower' },
  ],
  settings: {
    /** Streams that are measured. */
    batch: 8,
    /** Pairs in a stream, in a segment. */
    length: 1024,
    segment: 128,
    /** Numbers of an input and of an output. */
    dim: 32,
    /** Deviation of a segment's inputs around its direction. */
    spread: 0.8,
    /** Largest of the dimensions that are tried. */
    largest: 64,
  },
  panels: {
    position: { title: 'by position, a region per segment', x: 'position in the stream', y: 'error' },
    segment: { title: 'by length of a segment', x: 'log2 of the length', y: 'error' },
    dim: { title: 'by dimension', x: 'log2 of the dimension', y: 'error times dimension' },
  },
  measure,
};
