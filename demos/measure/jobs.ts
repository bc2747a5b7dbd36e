/** What the page *Measure it* asks its worker to do. */
// tfjs-core alone knows no gradient of its own operations.
import '@tensorflow/tfjs-core/dist/register_all_gradients.js';
import * as tf from '@tensorflow/tfjs-core';
import { type Timing, timeWall, warmUp } from '../../scripts/bench/measure.js';
import {
  linearAttention,
  localLinearAttention,
  mesaAttention,
  parallaxAttention,
  softmaxAttention,
} from '../../src/index.js';

export interface Sizes {
  readonly heads: number;
  readonly tokens: number;
  /** Numbers of a key and of a value. */
  readonly width: number;
}

export interface Measured {
  readonly label: string;
  readonly forward: Timing;
  /** Forward and all gradients. */
  readonly both: Timing;
}

export type OnMeasured = (done: readonly Measured[], next: string | undefined) => void | Promise<void>;

type Inputs = readonly tf.Tensor[];

/** All are causal; LLA's tolerance is that of the project's benchmarks. */
const OPERATORS: readonly {
  readonly label: string;
  readonly inputs: number;
  readonly run: (inputs: Inputs) => tf.Tensor;
}[] = [
  { label: 'softmax attention', inputs: 3, run: ([q, k, v]) => softmaxAttention(q, k, v, { causal: true }) },
  {
    label: 'LLA (ridge 1, tolerance 1e-3)',
    inputs: 3,
    run: ([q, k, v]) => localLinearAttention(q, k, v, { causal: true, ridge: 1, tolerance: 1e-3 }),
  },
  {
    label: 'Parallax attention',
    inputs: 4,
    run: ([q, k, v, probe]) => parallaxAttention(q, k, v, probe, { causal: true }),
  },
  { label: 'linear attention', inputs: 3, run: ([q, k, v]) => linearAttention(q, k, v, { causal: true }) },
  {
    label: 'mesa attention (ridge 1)',
    inputs: 3,
    run: ([q, k, v]) => mesaAttention(q, k, v, { causal: true, ridge: 1 }),
  },
];

/** The same on every visit; a fifth of the size keeps scores, and Parallax' probe, as moderate as in a model. */
function inputsOf(count: number, { heads, tokens, width }: Sizes): tf.Tensor[] {
  return Array.from({ length: count }, (_, i) =>
    tf.randomNormal([1, heads, tokens, width], 0, i === 3 ? 0.2 : 1, 'float32', i + 1),
  );
}

export const jobs = {
  /** Times every operator, alone and with its gradients, behind a warm-up. */
  async measure(sizes: Sizes, onMeasured: OnMeasured): Promise<readonly Measured[]> {
    const done: Measured[] = [];
    for (const { label, inputs: count, run } of OPERATORS) {
      await onMeasured(done, label);
      const inputs = inputsOf(count, sizes);
      const loss = (...given: tf.Tensor[]) => tf.sum<tf.Scalar>(run(given));
      const forward = () => run(inputs);
      const both = () => tf.grads(loss)(inputs);
      try {
        const forwardTime = await timeWall(forward, await warmUp(forward));
        await onMeasured(done, `${label}, gradients`);
        const bothTime = await timeWall(both, await warmUp(both));
        done.push({ label, forward: forwardTime, both: bothTime });
      } finally {
        tf.dispose(inputs);
      }
    }
    await onMeasured(done, undefined);
    return done;
  },
};
