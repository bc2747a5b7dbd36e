/**
 * Test-time regression by attention: no weights, no training. The pairs seen so far are the keys and values, the input
 * whose target is wanted is the query, and what the operator returns is the forecast.
 *
 * An operator is a way to regress; a `Regressor` is an operator together with the settings worth trying. The functions
 * below choose settings on some rows of a stream and forecast others; they know nothing of time series.
 */
import * as tf from '@tensorflow/tfjs-core';
import { linearAttention, localLinearAttention, mesaAttention, softmaxAttention } from '../../src/index.js';

/** Pairs in the order in which they become known: `inputs [B, n, D]` and `targets [B, n, Dv]`. */
export type Stream = { readonly inputs: tf.Tensor3D; readonly targets: tf.Tensor3D };

/** Rows `from <= t < to` of a stream; `from` is at least 1, as the first row has no past. */
export type Rows = { readonly from: number; readonly to: number };

export type Settings = { readonly scale?: number; readonly ridge?: number };

/** Attention to all keys, or with `causal` over the past: row `i` of `query` may use the keys `j <= Tk - Tq + i` only. */
type Regress = (
  query: tf.Tensor3D,
  key: tf.Tensor3D,
  value: tf.Tensor3D,
  settings: Settings & { readonly causal: boolean },
) => tf.Tensor;

export type Regressor = {
  readonly name: string;
  readonly label: string;
  /** What `choose` tries, in this order; of equal errors the first one wins. */
  readonly grid: readonly Settings[];
  readonly regress: Regress;
};

export type Choice = { readonly settings: Settings; readonly error: number };

/** Called between two trials, so that a caller can show progress or let a page breathe. */
export type OnTrial = (done: number, of: number) => void | Promise<void>;

/** Powers of about three: between neighbours the error of a kernel regression hardly changes. */
const SCALES = [0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000];
/** LLA's ridge is relative to a mean over keys. */
const LOCAL_RIDGES = [1, 0.1, 0.01, 1e-3, 1e-4];
/** Mesa's ridge is added to a sum over keys, so that the useful range lies higher. */
const GLOBAL_RIDGES = [1000, 300, 100, 30, 10, 3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001];

/** `-scale |k|^2 / 2`: with it the weight of a key falls with its distance from the query, as a Gaussian. */
function gaussianBias(key: tf.Tensor3D, scale: number): tf.Tensor {
  return tf.tidy(() => tf.mul(tf.sum(tf.square(key), -1), -scale / 2));
}

/** Appends a constant 1 to every row, which gives a regression without intercept one. */
function withConstant(rows: tf.Tensor3D): tf.Tensor3D {
  const [batch, count] = rows.shape;
  return tf.concat([rows, tf.ones<tf.Rank.R3>([batch, count, 1])], 2);
}

/** The next target is the last one that is known. */
export const persistence: Regressor = {
  name: 'persistence',
  label: 'persistence',
  grid: [{}],
  regress(query, _key, value) {
    const [batch, known, width] = value.shape;
    const wanted = query.shape[1];
    return tf.slice(value, [0, known - wanted, 0], [batch, wanted, width]);
  },
};

/**
 * Normalised linear attention with features `elu + 1`: a weighted mean of the targets, which needs no intercept. Its
 * `scale` multiplies queries and keys before the features, as one behind them would cancel. Beyond 10 the features
 * of negative values, `exp(scale x)`, fall below what float32 can tell from nothing.
 */
const linear: Regressor = {
  name: 'linear',
  label: 'linear attention',
  grid: SCALES.filter((scale) => scale <= 10).map((scale) => ({ scale })),
  regress: (query, key, value, { scale = 1, causal }) =>
    linearAttention(tf.mul(query, scale), tf.mul(key, scale), value, { causal }),
};

/** Ridge regression on all past pairs alike. The constant feature gives it the intercept that LLA has. */
export const mesa: Regressor = {
  name: 'mesa',
  label: 'mesa (global ridge regression)',
  grid: GLOBAL_RIDGES.map((ridge) => ({ ridge })),
  regress: (query, key, value, { ridge = 1, causal }) =>
    mesaAttention(withConstant(query), withConstant(key), value, { causal, ridge }),
};

/** Kernel (Nadaraya-Watson) regression: a constant is fitted around the query. */
export const softmax: Regressor = {
  name: 'softmax',
  label: 'softmax (kernel regression)',
  grid: SCALES.map((scale) => ({ scale })),
  regress: (query, key, value, { scale = 1, causal }) =>
    softmaxAttention(query, key, value, { causal, scale, keyBias: gaussianBias(key, scale) }),
};

/** Local linear regression: a linear function is fitted around the query, with the same weights as `softmax`. */
export const localLinear: Regressor = {
  name: 'localLinear',
  label: 'LLA (local linear regression)',
  grid: SCALES.flatMap((scale) => LOCAL_RIDGES.map((ridge) => ({ scale, ridge }))),
  regress: (query, key, value, { scale = 1, ridge = 1, causal }) =>
    localLinearAttention(query, key, value, { causal, scale, ridge, keyBias: gaussianBias(key, scale) }),
};

export const REGRESSORS: readonly Regressor[] = [persistence, linear, mesa, softmax, localLinear];

/**
 * Forecasts of the targets of `rows`, `[B, to - from, Dv]`. Row `t` is forecast from `inputs[t]` and the pairs before
 * `t`: keys and values end with pair `to - 2`, the last one known when row `to - 1` is forecast, and `causal`, which is
 * aligned to the end, leaves each earlier row one pair less.
 */
export function forecast(regressor: Regressor, stream: Stream, settings: Settings, rows: Rows): tf.Tensor3D {
  const { from, to } = rows;
  if (!(from >= 1 && from < to && to <= stream.inputs.shape[1])) {
    throw new RangeError(`forecast: rows ${from} to ${to} do not lie within 1 to ${stream.inputs.shape[1]}`);
  }
  return tf.tidy(() => {
    const query = between(stream.inputs, from, to);
    const key = between(stream.inputs, 0, to - 1);
    const value = between(stream.targets, 0, to - 1);
    return tf.reshape<tf.Rank.R3>(regressor.regress(query, key, value, { ...settings, causal: true }), [
      stream.targets.shape[0],
      to - from,
      stream.targets.shape[2],
    ]);
  });
}

/** Squared error of a forecast of `rows`, one number per row, averaged over batch and target dimensions. */
export async function errorByRow(predicted: tf.Tensor3D, stream: Stream, rows: Rows): Promise<Float32Array> {
  const errors = tf.tidy(() => {
    const wanted = between(stream.targets, rows.from, rows.to);
    return tf.cast(tf.mean(tf.squaredDifference(predicted, wanted), [0, 2]), 'float32');
  });
  try {
    return await errors.data<'float32'>();
  } finally {
    errors.dispose();
  }
}

/** Mean in float64: float32 sums of thousands of small errors lose digits that a comparison needs. */
export function mean(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Mean squared error on `rows` with the given settings. */
export async function errorOf(regressor: Regressor, stream: Stream, settings: Settings, rows: Rows): Promise<number> {
  const predicted = forecast(regressor, stream, settings, rows);
  try {
    return mean(await errorByRow(predicted, stream, rows));
  } finally {
    predicted.dispose();
  }
}

/** The settings of the regressor's grid with the smallest error on `rows`; a trial that is not finite never wins. */
export async function choose(
  regressor: Regressor,
  stream: Stream,
  rows: Rows,
  onTrial: OnTrial = () => undefined,
): Promise<Choice> {
  let best: Choice | undefined;
  for (const [index, settings] of regressor.grid.entries()) {
    const error = await errorOf(regressor, stream, settings, rows);
    if (Number.isFinite(error) && (best === undefined || error < best.error)) best = { settings, error };
    await onTrial(index + 1, regressor.grid.length);
  }
  if (best === undefined) throw new Error(`${regressor.label}: no setting gives a finite error`);
  return best;
}

function between(rows: tf.Tensor3D, from: number, to: number): tf.Tensor3D {
  return tf.slice(rows, [0, from, 0], [rows.shape[0], to - from, rows.shape[2]]);
}
