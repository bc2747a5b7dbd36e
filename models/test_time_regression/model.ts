/** Regression by attention on segmented streams: settings chosen on some streams, errors measured on others. */
import * as tf from '@tensorflow/tfjs-core';
import { choose, errorByRow, forecast, mean, type Regressor, type Settings, type Stream } from '../forecast/model.js';
import type { Random } from '../trainer/random.js';
import { segmentedStreams, type StreamShape, type StreamSizes } from './data.js';

export interface SegmentedError {
  readonly settings: Settings;
  /** Squared error per number of an output of mean square `1 / dim`, by position in the stream from the second pair on. */
  readonly byPosition: Float32Array;
  readonly error: number;
}

/** A stream with outputs of mean square `1 / dim`, as maps with entries of variance `1 / dim` give them. */
function streamOf(random: Random, sizes: StreamSizes, shape: StreamShape): Stream {
  const { batch, count, dim } = sizes;
  const { inputs, outputs } = segmentedStreams(random, sizes, shape);
  const scaled = outputs.map((value) => value / Math.sqrt(dim));
  return { inputs: tf.tensor3d(inputs, [batch, count, dim]), targets: tf.tensor3d(scaled, [batch, count, dim]) };
}

/** Each pair is forecast from those before it. */
export async function segmentedError(
  regressor: Regressor,
  sizes: StreamSizes,
  shape: StreamShape,
  { choice, test }: Readonly<Record<'choice' | 'test', Random>>,
): Promise<SegmentedError> {
  const rows = { from: 1, to: sizes.count };
  const seen = streamOf(choice, { ...sizes, batch: 1 }, shape);
  const fresh = streamOf(test, sizes, shape);
  try {
    const { settings } = await choose(regressor, seen, rows);
    const predicted = forecast(regressor, fresh, settings, rows);
    try {
      const byPosition = await errorByRow(predicted, fresh, rows);
      return { settings, byPosition, error: mean(byPosition) };
    } finally {
      predicted.dispose();
    }
  } finally {
    tf.dispose([{ ...seen }, { ...fresh }]);
  }
}
