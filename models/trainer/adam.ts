/**
 * Adam with decoupled weight decay (arXiv 1711.05101), on all weights as one vector.
 *
 * tfjs' own optimizer, saved and loaded, goes on with other roundings, and starts ten programs per weight and step, which
 * on a GPU takes longer than the step of a small model. Here the state is two vectors, and all else follows from the step.
 */
import * as tf from '@tensorflow/tfjs-core';

export interface AdamSettings {
  readonly decay: number;
  readonly clip: number;
}

/** Decay rates of the moving averages; the second is that of language models, which forgets a burst sooner. */
const BETA1 = 0.9;
const BETA2 = 0.98;
const EPSILON = 1e-8;

/** Puts `value` in the place of what a variable holds, which is disposed of. */
const replace = (variable: tf.Variable, value: tf.Tensor) => variable.assign(value);

const flat = (tensor: tf.Tensor): tf.Tensor1D => tf.reshape<tf.Rank.R1>(tensor, [-1]);

export class Adam {
  /** Moving averages of the gradient and of its square, `[number of weights]`; what a checkpoint holds beside the weights. */
  readonly state: readonly [mean: tf.Variable<tf.Rank.R1>, square: tf.Variable<tf.Rank.R1>];
  private readonly decayed: tf.Tensor1D | undefined;

  constructor(
    private readonly variables: readonly tf.Variable[],
    private readonly settings: AdamSettings,
  ) {
    const size = variables.reduce((sum, variable) => sum + variable.size, 0);
    const average = (): tf.Variable<tf.Rank.R1> => tf.tidy(() => tf.variable(tf.zeros<tf.Rank.R1>([size]), false));
    this.state = [average(), average()];
    if (settings.decay > 0) {
      const mask = (variable: tf.Variable) => tf.fill([variable.size], Number(variable.rank >= 2));
      this.decayed = tf.tidy(() => tf.concat1d(variables.map((variable) => mask(variable) as tf.Tensor1D)));
    }
  }

  /** One step; `step` counts from 1. */
  apply(gradients: tf.NamedTensorMap, step: number, rate: number): void {
    const [mean, square] = this.state;
    const { decay, clip } = this.settings;
    tf.tidy(() => {
      const raw = tf.concat1d(this.variables.map(({ name }) => flat(gradients[name])));
      const norm = tf.sqrt(tf.sum(tf.square(raw)));
      const gradient = tf.mul(raw, tf.minimum(tf.div(clip, tf.add(norm, 1e-6)), 1));
      const newMean = tf.add(tf.mul(mean, BETA1), tf.mul(gradient, 1 - BETA1));
      const newSquare = tf.add(tf.mul(square, BETA2), tf.mul(tf.square(gradient), 1 - BETA2));
      const deviation = tf.add(tf.sqrt(tf.div(newSquare, 1 - BETA2 ** step)), EPSILON);
      const weights = tf.concat1d(this.variables.map(flat));
      let moved = tf.sub(weights, tf.mul(tf.div(newMean, deviation), rate / (1 - BETA1 ** step)));
      if (this.decayed) moved = tf.sub(moved, tf.mul(tf.mul(weights, this.decayed), rate * decay));
      replace(mean, newMean);
      replace(square, newSquare);
      let at = 0;
      for (const variable of this.variables) {
        replace(variable, tf.reshape(tf.slice(moved, at, variable.size), variable.shape));
        at += variable.size;
      }
    });
  }

  dispose(): void {
    tf.dispose([...this.state]);
    this.decayed?.dispose();
  }
}

/** Rises along a line, then falls along a cosine. */
export function rateAt(
  step: number,
  { steps, rate, warmup, finalRate }: Readonly<Record<'steps' | 'rate' | 'warmup' | 'finalRate', number>>,
): number {
  const rising = Math.round(warmup * steps);
  if (step <= rising) return (rate * step) / rising;
  const along = (step - rising) / Math.max(1, steps - rising);
  return rate * (finalRate + ((1 - finalRate) * (1 + Math.cos(Math.PI * along))) / 2);
}
