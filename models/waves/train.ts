import * as tf from '@tensorflow/tfjs-core';
import { meanSquaredError } from '../common/losses.js';
import type { Attention, Batch, Settings, Task, TrainedExperiment } from '../trainer/experiment.js';
import { Random } from '../trainer/random.js';
import { waveBatch } from './data.js';
import { waveModel } from './model.js';

interface WaveTensors extends Batch {
  /** `[batch, length, lags]`. */
  readonly windows: tf.Tensor3D;
  /** `[batch, length]`. */
  readonly next: tf.Tensor2D;
}

/** Waves that no run trains on. */
export function heldOutWaves(settings: Settings): WaveTensors {
  return make(new Random('waves', 'held out'), settings, settings.evaluated);
}

function make(random: Random, { length, lags }: Settings, batch: number): WaveTensors {
  const { windows, next } = waveBatch(random, { batch, length, lags });
  return { windows: tf.tensor3d(windows, [batch, length, lags]), next: tf.tensor2d(next, [batch, length]) };
}

class Waves implements Task {
  readonly model;
  private readonly held: Batch;

  constructor(
    attention: Attention,
    private readonly settings: Settings,
  ) {
    this.model = waveModel(attention, settings);
    this.held = heldOutWaves(settings);
  }

  batch(random: Random): Batch {
    return make(random, this.settings, this.settings.batch);
  }

  loss({ windows, next }: Batch): tf.Scalar {
    return tf.tidy(() => {
      const out = this.model.apply(windows, { training: true }) as tf.Tensor3D;
      return meanSquaredError(tf.squeeze(out, [2]), next);
    });
  }

  async evaluate() {
    const error = this.loss(this.held);
    const [value] = await error.data();
    error.dispose();
    return { error: value };
  }

  dispose(): void {
    this.model.dispose();
    tf.dispose({ ...this.held });
  }
}

export const experiment: TrainedExperiment = {
  name: 'waves',
  title: 'Waves',
  metrics: [{ name: 'error', label: 'mean squared error', better: 'lower' }],
  settings: {
    steps: 500,
    batch: 16,
    rate: 4e-2,
    ridge: 0.1,
    /** Positions of a wave, and numbers that are shown at each. */
    length: 32,
    lags: 4,
    heads: 2,
    keyDim: 4,
    logEvery: 10,
    evaluateEvery: 100,
    /** Waves of an evaluation. */
    evaluated: 128,
  },
  sweep: { rate: [5e-3, 1e-2, 2e-2, 4e-2], ridge: [0.01, 0.1, 1], scale: [0.5, 1, 2] },
  start: (attention, settings) => new Waves(attention, settings),
};
