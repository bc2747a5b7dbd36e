import * as tf from '@tensorflow/tfjs-core';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { numberColumn } from '../models/forecast/csv.js';
import { windowsOf } from '../models/forecast/data.js';
import { compare, trials } from '../models/forecast/job.js';
import type { Regressor, Rows, Settings, Stream } from '../models/forecast/model.js';
import {
  choose,
  errorOf,
  forecast,
  localLinear,
  mesa,
  persistence,
  REGRESSORS,
  softmax,
} from '../models/forecast/model.js';
import { tableOf } from '../models/forecast/table.js';
import { backends, useBackend } from './backends.js';
import { Random } from './random.js';

const DATA = join(__dirname, '../node_modules/vega-datasets/data');

beforeEach(() => useBackend('cpu'));

/** Values in time order, as a batch of streams of windows. */
function streamOf(values: readonly number[], lags: number): Stream {
  const count = values.length - lags;
  const inputs = Array.from({ length: count }, (_, row) => values.slice(row, row + lags));
  return { inputs: tf.tensor3d([inputs]), targets: tf.tensor3d([values.slice(lags).map((value) => [value])]) };
}

const dispose = (stream: Stream) => tf.dispose([stream.inputs, stream.targets]);

function forecasts(regressor: Regressor, values: readonly number[], settings: Settings, rows: Rows): number[] {
  return tf.tidy(() => Array.from(forecast(regressor, streamOf(values, 3), settings, rows).dataSync()));
}

const noise = (length: number) => Array.from(new Random(7).normals([length]).data);

const everywhere = backends.flatMap((backend) =>
  REGRESSORS.map((regressor) => [regressor.name, backend, regressor] as const),
);

describe.each(everywhere)('%s on %s', (_, backend, regressor) => {
  beforeEach(() => useBackend(backend));

  const settings = { scale: 1, ridge: 0.1 };
  const rows = { from: 4, to: 37 };

  test('sees nothing of the value it forecasts, nor of a later one', () => {
    const values = noise(40);
    const before = forecasts(regressor, values, settings, rows);
    for (const changed of [38, 30, 12]) {
      const other = values.map((value, index) => (index >= changed ? 9 - value : value));
      const after = forecasts(regressor, other, settings, rows);
      // Forecast `i` is of value `rows.from + 3 + i`; those up to the first changed value must stay. A kernel
      // may shift all keys by a common vector, so that they stay but for rounding; the changes are a hundred times that.
      const kept = changed - 3 - rows.from + 1;
      for (let i = 0; i < kept; i++) expect(after[i]).toBeCloseTo(before[i], 4);
      expect(Math.max(...after.slice(kept).map((value, i) => Math.abs(value - before[kept + i])))).toBeGreaterThan(
        0.01,
      );
    }
  });

  test('uses the newest pair that is known', () => {
    const inputs = tf.tensor3d(noise(60), [1, 20, 3]);
    const targets = noise(20);
    const last = (known: readonly number[]) =>
      tf.tidy(() => {
        const stream = { inputs, targets: tf.tensor3d([known.map((value) => [value])]) };
        return forecast(regressor, stream, settings, { from: 19, to: 20 }).dataSync()[0];
      });
    const changed = (at: number) => targets.map((value, index) => (index === at ? value + 1 : value));
    expect(Math.abs(last(changed(18)) - last(targets))).toBeGreaterThan(1e-3);
    expect(last(changed(19))).toBe(last(targets));
    inputs.dispose();
  });

  test('forecasts a row alike, alone and among others', () => {
    const values = noise(40);
    const all = forecasts(regressor, values, settings, rows);
    const alone = forecasts(regressor, values, settings, { from: 20, to: 21 });
    expect(alone[0]).toBeCloseTo(all[16], 4);
  });

  test('forecasts each stream of a batch by its own past', () => {
    const [a, b] = [noise(40), noise(40).reverse()];
    const [first, second] = [streamOf(a, 3), streamOf(b, 3)];
    const stream = {
      inputs: tf.concat([first.inputs, second.inputs]),
      targets: tf.concat([first.targets, second.targets]),
    };
    const both = forecast(regressor, stream, settings, rows);
    expect(both.shape).toEqual([2, 33, 1]);
    const apart = [...forecasts(regressor, a, settings, rows), ...forecasts(regressor, b, settings, rows)];
    both.dataSync().forEach((value, index) => expect(value).toBeCloseTo(apart[index], 5));
    both.dispose();
    [first, second, stream].forEach(dispose);
  });
});

test('persistence repeats the last value', () => {
  const values = noise(40);
  const rows = { from: 5, to: 37 };
  const expected = values.slice(7, 39);
  expect(forecasts(persistence, values, {}, rows)).toEqual(expected);
});

test('softmax is kernel regression with a Gaussian of the distance', () => {
  const values = noise(30);
  const scale = 2;
  const row = 20;
  const distances = Array.from({ length: row }, (_, key) =>
    [0, 1, 2].reduce((sum, lag) => sum + (values[row + lag] - values[key + lag]) ** 2, 0),
  );
  const weights = distances.map((distance) => Math.exp((-scale * distance) / 2));
  const weighted = weights.reduce((sum, weight, key) => sum + weight * values[key + 3], 0);
  const expected = weighted / weights.reduce((sum, weight) => sum + weight, 0);
  expect(forecasts(softmax, values, { scale }, { from: row, to: row + 1 })[0]).toBeCloseTo(expected, 5);
});

test.each([
  ['mesa', mesa, { ridge: 1e-4 }],
  ['LLA', localLinear, { scale: 0.1, ridge: 1e-4 }],
])('%s learns a linear rule with an intercept', (_, regressor, settings) => {
  const shocks = noise(80);
  const values = [0.3];
  for (const shock of shocks) values.push(values.length % 9 === 0 ? shock : 1 - 0.8 * values[values.length - 1]);
  const truth = values.slice(73 + 3);
  const guess = forecasts(regressor, values, settings, { from: 73, to: 78 });
  const regular = truth.map((_value, index) => (76 + index) % 9 !== 0);
  // Shocks are not in the rule, and pull the fit a little.
  const errors = truth.flatMap((value, index) => (regular[index] ? [Math.abs(value - guess[index])] : []));
  expect(Math.max(...errors)).toBeLessThan(0.3);
});

describe('choosing', () => {
  const made = (errors: Readonly<Record<number, number>>): Regressor => ({
    name: 'made',
    label: 'made',
    grid: Object.keys(errors).map((ridge) => ({ ridge: Number(ridge) })),
    regress: (query, _key, _value, { ridge = 0 }) => tf.fill([1, query.shape[1], 1], errors[ridge]),
  });
  const zeros = () => streamOf(new Array<number>(20).fill(0), 3);

  test('takes the smallest error and never one that is not finite', async () => {
    const stream = zeros();
    const trial: number[] = [];
    const choice = await choose(
      made({ 1: NaN, 2: 3, 4: 2, 8: Infinity, 16: 2 }),
      stream,
      { from: 5, to: 9 },
      (done, of) => {
        trial.push(done / of);
      },
    );
    expect(choice).toEqual({ settings: { ridge: 4 }, error: 4 });
    expect(trial).toEqual([0.2, 0.4, 0.6, 0.8, 1]);
    dispose(stream);
  });

  test('fails where no setting works, and leaves no tensor', async () => {
    const stream = zeros();
    const before = tf.memory().numTensors;
    await expect(choose(made({ 1: NaN }), stream, { from: 5, to: 9 })).rejects.toThrow(
      'made: no setting gives a finite',
    );
    expect(tf.memory().numTensors).toBe(before);
    dispose(stream);
  });

  test.each([
    [0, 5],
    [5, 5],
    [5, 18],
  ])('rows %d to %d are refused', (from, to) => {
    const stream = zeros();
    expect(() => forecast(softmax, stream, {}, { from, to })).toThrow(
      `rows ${from} to ${to} do not lie within 1 to 17`,
    );
    dispose(stream);
  });
});

describe('hourly temperatures of Seattle, 1500 values, 8 lags', () => {
  const file = 'seattle-weather-hourly-normals.csv';
  const { values } = numberColumn(readFileSync(join(DATA, file), 'utf8'), file, 'temperature');
  const windows = windowsOf({ title: '', source: file, unit: '', values: values.slice(0, 1500) }, 8);
  const rest = { from: windows.split, to: windows.count };
  let stream: Stream;

  beforeAll(() => {
    stream = {
      inputs: tf.tensor3d(windows.inputs, [1, windows.count, 8]),
      targets: tf.tensor3d(windows.targets, [1, windows.count, 1]),
    };
  });
  afterAll(() => dispose(stream));

  // From an independent float64 calculation with the same settings.
  test.each([
    ['persistence', persistence, {}, 0.2163],
    ['mesa', mesa, { ridge: 0.03 }, 0.0372],
    ['softmax at scale 8', softmax, { scale: 8 }, 0.0674],
    ['softmax at its best scale', softmax, { scale: 300 }, 0.0119],
    ['LLA', localLinear, { scale: 10, ridge: 1e-3 }, 0.0083],
  ])('%s has the expected error', async (_, regressor, settings, expected) => {
    expect(await errorOf(regressor, stream, settings, rest)).toBeCloseTo(expected, 4);
  });
});

test('a comparison marks one winner where several are equally good, and says that LLA is level with it', async () => {
  const values = Array.from({ length: 90 }, (_, index) => (index % 7 === 0 ? 1 : 0));
  const report = await compare({ title: 't', source: 's', unit: 'u', values }, 8);
  const perfect = report.results.filter(({ error }) => error === 0).map(({ name }) => name);
  expect(perfect).toEqual(['softmax', 'localLinear']);
  expect(report.results.filter(({ best }) => best).map(({ name }) => name)).toEqual(['softmax']);
  expect(tableOf(report)).toMatch(/│ LLA .* │ level with it │/);
  expect(tableOf(report)).toContain('LLA does not win here: softmax (kernel regression) has the smallest error');
});

test('forecasts that are not finite are an error, not a result', async () => {
  const broken: Regressor = {
    name: 'broken',
    label: 'broken',
    grid: [{}],
    // Fine where settings are chosen, and not behind that.
    regress: (query) => tf.fill([1, query.shape[1], 1], query.shape[1] > 40 ? NaN : 0),
  };
  const values = noise(90);
  const before = tf.memory().numTensors;
  await expect(compare({ title: 't', source: 's', unit: 'u', values }, 3, undefined, [broken])).rejects.toThrow(
    's: broken gives forecasts that are not finite',
  );
  expect(tf.memory().numTensors).toBe(before);
});

test('a comparison marks one winner, reports its progress and leaves no tensor', async () => {
  const values = Array.from({ length: 120 }, (_, index) => 20 + 5 * Math.sin(index / 3) + Math.sin(index * index));
  const before = tf.memory().numTensors;
  const seen: number[] = [];
  const report = await compare({ title: 't', source: 's', unit: 'u', values }, 3, (done, of) => {
    expect(of).toBe(trials());
    seen.push(done);
  });
  expect(tf.memory().numTensors).toBe(before);
  expect(seen).toEqual(Array.from({ length: trials() }, (_, index) => index + 1));
  expect(report.start).toBe(40);
  expect(report.results.map(({ name }) => name)).toEqual(['persistence', 'linear', 'mesa', 'softmax', 'localLinear']);
  const winner = report.results.reduce((a, b) => (b.error < a.error ? b : a));
  expect(report.results.filter(({ best }) => best)).toEqual([winner]);
  // Forecasts are in the unit of the series: the error in that unit is the standardised one times the variance.
  for (const { forecast: guess, error } of report.results) {
    const squares = guess.map((value, index) => (value - values[40 + index]) ** 2);
    const mean = squares.reduce((sum, square) => sum + square, 0) / squares.length;
    expect(mean / report.deviation ** 2 / error).toBeCloseTo(1, 4);
  }
});
