/** From numbers in time order to the pairs that test-time regression sees: windows of past values, and the next value. */
import { InputError } from '../common/input_error.js';

export type Series = {
  /** Short, for a table's heading. */
  readonly title: string;
  /** Where it came from, for messages and the record of a run. */
  readonly source: string;
  readonly unit: string;
  readonly values: readonly number[];
};

/** A series prepared for forecasting. Row `t` pairs the window `values[t .. t + lags)` with the value after it. */
export type Windows = {
  readonly lags: number;
  /** Number of rows. */
  readonly count: number;
  /** First row whose target lies behind the first third: earlier rows are for choosing, later ones are reported. */
  readonly split: number;
  /** `[count, lags]`, row-major, standardised. */
  readonly inputs: Float32Array;
  /** `[count]`, standardised. */
  readonly targets: Float32Array;
  readonly mean: number;
  readonly deviation: number;
};

/** Longest window that can be asked for. */
export const MOST_LAGS = 128;

/** A value this many standard deviations out leaves float32 no digits for a distance between ordinary windows. */
const FARTHEST = 1e4;

/** Every window length needs a few more windows in the first third than a linear fit has coefficients. */
export const fewestValues = (lags: number): number => 3 * (2 * lags + 4);

/**
 * Cuts a series into windows. Mean and deviation are those of the first third, which every reported forecast has behind
 * it: taken over the whole series they would tell the first forecasts how the series goes on.
 */
export function windowsOf({ source, values }: Series, lags: number): Windows {
  const fewest = fewestValues(lags);
  if (values.length < fewest) {
    throw new InputError(`${source}: ${values.length} values are too few; ${lags} lags need at least ${fewest}`);
  }
  const third = Math.floor(values.length / 3);
  const { mean, deviation } = moments(values.slice(0, third));
  if (!(deviation > 0)) {
    throw new InputError(
      `${source}: the first third (${third} values) is constant to twelve digits, so that nothing can be learnt from it`,
    );
  }
  const standard = values.map((value) => (value - mean) / deviation);
  const far = standard.findIndex((value) => !(Math.abs(value) <= FARTHEST));
  if (far >= 0) {
    throw new InputError(
      `${source}: value ${far + 1} (${values[far]}) lies more than ${FARTHEST} standard deviations of the first third ` +
        `(${deviation.toPrecision(3)}) from its mean (${mean.toPrecision(3)})`,
    );
  }
  const count = values.length - lags;
  const inputs = new Float32Array(count * lags);
  for (let row = 0; row < count; row++) inputs.set(standard.slice(row, row + lags), row * lags);
  return {
    lags,
    count,
    split: third - lags,
    inputs,
    targets: Float32Array.from(standard.slice(lags)),
    mean,
    deviation,
  };
}

function moments(values: readonly number[]): { mean: number; deviation: number } {
  // In units of the largest value, so that no square overflows or vanishes, whatever unit the series has.
  const unit = Math.max(...values.map(Math.abs)) || 1;
  const mean = values.reduce((sum, value) => sum + value / unit, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value / unit - mean) ** 2, 0) / values.length;
  // A constant series leaves rounding errors behind, which are not a spread to divide by.
  const deviation = Math.sqrt(variance);
  return { mean: mean * unit, deviation: deviation > 1e-12 * Math.abs(mean) ? deviation * unit : 0 };
}
