/** Waves of different periods: how one goes on is to be seen from the wave alone. */
import type { Random } from '../trainer/random.js';

export interface WaveSizes {
  /** Waves side by side. */
  readonly batch: number;
  /** Positions of a wave at which the next number is asked for. */
  readonly length: number;
  /** Numbers that the model is shown at each position. */
  readonly lags: number;
}

export interface WaveBatch {
  /** `[batch, length, lags]`: the last numbers at each position, the newest one last. */
  readonly windows: Float32Array;
  /** `[batch, length]`: the number that comes next. */
  readonly next: Float32Array;
}

/** Steps of a period, at least and at most; between them evenly spread. */
const PERIODS = [6, 25] as const;

/** Sines of height 1, each with a period and a phase of its own. */
export function waveBatch(random: Random, { batch, length, lags }: WaveSizes): WaveBatch {
  const windows = new Float32Array(batch * length * lags);
  const next = new Float32Array(batch * length);
  for (let wave = 0; wave < batch; wave++) {
    const period = PERIODS[0] + (PERIODS[1] - PERIODS[0]) * random.uniform();
    const phase = random.uniform();
    const at = (time: number) => Math.sin(2 * Math.PI * (time / period + phase));
    for (let position = 0; position < length; position++) {
      const row = wave * length + position;
      for (let lag = 0; lag < lags; lag++) windows[row * lags + lag] = at(position + lag);
      next[row] = at(position + lags);
    }
  }
  return { windows, next };
}
