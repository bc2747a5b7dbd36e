/** The comparison: every regressor forecasts the same series, each with settings chosen on its first third. */
import * as tf from '@tensorflow/tfjs-core';
import type { Series } from './data.js';
import { windowsOf } from './data.js';
import type { Regressor, Rows, Settings, Stream } from './model.js';
import { choose, errorByRow, forecast, mean, REGRESSORS } from './model.js';

export type Result = {
  readonly name: string;
  readonly label: string;
  readonly settings: Settings;
  /** Mean squared error of the standardised series on the first third, where the settings were chosen. */
  readonly choiceError: number;
  /** The same on the rest: the figure to compare. */
  readonly error: number;
  /** Whether its error on the rest is the smallest; of equal ones the first, so that there is one winner. */
  readonly best: boolean;
  /** One step ahead, in the series' own unit, for the positions `start ... values.length - 1` of the series. */
  readonly forecast: number[];
};

export type Report = {
  readonly series: Series;
  readonly lags: number;
  /** Position in the series of the first reported forecast. */
  readonly start: number;
  /** Mean and standard deviation of the first third, by which the series was standardised. */
  readonly mean: number;
  readonly deviation: number;
  readonly seconds: number;
  readonly results: readonly Result[];
};

/** What is being tried; `done` of `of` trials of one series. */
export type OnProgress = (done: number, of: number, label: string) => void | Promise<void>;

/** One trial per setting, and one run over the rest, for each regressor. */
export const trials = (regressors: readonly Regressor[] = REGRESSORS): number =>
  regressors.reduce((sum, { grid }) => sum + grid.length + 1, 0);

export async function compare(
  series: Series,
  lags: number,
  onProgress: OnProgress = () => undefined,
  regressors: readonly Regressor[] = REGRESSORS,
): Promise<Report> {
  const started = Date.now();
  const windows = windowsOf(series, lags);
  const stream: Stream = {
    inputs: tf.tensor3d(windows.inputs, [1, windows.count, lags]),
    targets: tf.tensor3d(windows.targets, [1, windows.count, 1]),
  };
  // Before row lags + 1 there are fewer pairs than a linear fit has coefficients: such rows would choose the ridge.
  const first: Rows = { from: lags + 1, to: windows.split };
  const rest: Rows = { from: windows.split, to: windows.count };
  const of = trials(regressors);
  let done = 0;
  try {
    const results: Omit<Result, 'best'>[] = [];
    for (const regressor of regressors) {
      const { name, label } = regressor;
      const choice = await choose(regressor, stream, first, () => onProgress(++done, of, label));
      const predicted = forecast(regressor, stream, choice.settings, rest);
      try {
        const error = mean(await errorByRow(predicted, stream, rest));
        if (!Number.isFinite(error)) throw new Error(`${series.source}: ${label} gives forecasts that are not finite`);
        const standard = await predicted.data();
        const values = Array.from(standard, (value) => value * windows.deviation + windows.mean);
        results.push({ name, label, settings: choice.settings, choiceError: choice.error, error, forecast: values });
      } finally {
        predicted.dispose();
      }
      await onProgress(++done, of, label);
    }
    const errors = results.map(({ error }) => error);
    const winner = errors.indexOf(Math.min(...errors));
    return {
      series,
      lags,
      start: windows.split + lags,
      mean: windows.mean,
      deviation: windows.deviation,
      seconds: (Date.now() - started) / 1000,
      results: results.map((result, index) => ({ ...result, best: index === winner })),
    };
  } finally {
    tf.dispose([stream.inputs, stream.targets]);
  }
}
