/**
 * Fits of points by attention, without training: places are queries, points are keys with their height for a value. The
 * regressors are those of the forecasts; here nothing is causal.
 */
import * as tf from '@tensorflow/tfjs-core';
import { localLinear, mesa, type Regressor, softmax } from '../forecast/model.js';
import type { Point } from './data.js';

export const FITS = ['mesa', 'softmax', 'localLinear'] as const;
export type Fit = (typeof FITS)[number];

const REGRESSORS: Readonly<Record<Fit, Regressor>> = { softmax, localLinear, mesa };

export interface FitSettings {
  /** Of the Gaussian weights `exp(-scale |q - k|^2 / 2)`; the global fit has none. */
  readonly scale: number;
  /** Relative to a mean over points, for the global fit as for the local one. */
  readonly ridge: number;
}

const column = (values: readonly number[]): tf.Tensor3D => tf.tensor3d([...values], [1, values.length, 1]);

/** Heights `[places.length]` of a fit to `points` at `places`. */
export function fitAt(
  fit: Fit,
  points: readonly Point[],
  places: readonly number[],
  settings: FitSettings,
): tf.Tensor1D {
  const { scale, ridge } = settings;
  return tf.tidy(() => {
    const query = column(places);
    const key = column(points.map(({ x }) => x));
    const value = column(points.map(({ y }) => y));
    const own = fit === 'mesa' ? { ridge: ridge * points.length } : { scale, ridge };
    return tf.reshape<tf.Rank.R1>(REGRESSORS[fit].regress(query, key, value, { ...own, causal: false }), [-1]);
  });
}
