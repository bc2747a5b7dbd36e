/** Times steps of training of one transformer with each attention. */
import * as tf from '@tensorflow/tfjs-core';
import { randomWindows, VOCABULARY } from '../../models/language_model/data.js';
import { languageModel, lossOf } from '../../models/language_model/model.js';
import { Adam } from '../../models/trainer/adam.js';
import type { Attention } from '../../models/trainer/experiment.js';
import { Random } from '../../models/trainer/random.js';
import { setFirstValues, trainedVariables } from '../../models/trainer/weights.js';

export interface Shape {
  readonly dim: number;
  readonly heads: number;
  readonly layers: number;
  readonly context: number;
  readonly batch: number;
}

/** How long it is measured. */
export interface Span {
  /** Steps that are not timed: the first ones compile. */
  readonly warmUp: number;
  /** Most steps that are timed, and the seconds after which no more are begun. */
  readonly steps: number;
  readonly seconds: number;
}

export interface Speed {
  readonly attention: Attention;
  readonly weights: number;
  /** Seconds of the untimed steps. */
  readonly warmUpSeconds: number;
  readonly steps: number;
  readonly seconds: number;
  readonly stepsPerSecond: number;
  /** Of the first and the last step: what is timed has to learn. */
  readonly losses: readonly [first: number, last: number];
}

/** Bytes in which each value is likelier after some than after others, so that there is something to learn. */
function someBytes(): Uint8Array {
  const random = new Random('training speed', 'bytes');
  let last = 0;
  return Uint8Array.from({ length: 1 << 16 }, () => (last = (last + random.integer(8)) % VOCABULARY));
}

async function numberOf(scalar: tf.Scalar): Promise<number> {
  const [value] = await scalar.data();
  scalar.dispose();
  return value;
}

/** Steps are begun one after the other; only the last one of `BLOCK` is waited for, as in training. */
const BLOCK = 5;

/** Time of a step: batch, loss, gradients and Adam, as the trainer takes it. Throws where a loss is no number. */
export async function measureSpeed(attention: Attention, shape: Shape, span: Span): Promise<Speed> {
  const model = languageModel(attention, { ...shape, ridge: 1 });
  setFirstValues(model, new Random('training speed', 'weights'), 1);
  const variables = trainedVariables(model);
  const adam = new Adam(variables, { decay: 0.1, clip: 1 });
  const bytes = someBytes();
  let done = 0;
  const step = (): tf.Scalar => {
    const windows = randomWindows(bytes, shape.batch, shape.context, new Random('training speed', ++done));
    const { value, grads } = tf.variableGrads(() => lossOf(model, windows), variables);
    adam.apply(grads, done, 1e-3);
    tf.dispose([grads, { ...windows }]);
    return value;
  };
  const steps = async (count: number): Promise<number> => {
    for (let i = 1; i < count; i++) step().dispose();
    const loss = await numberOf(step());
    if (!Number.isFinite(loss)) throw new Error(`${attention}: the loss of step ${done} is ${loss}`);
    return loss;
  };
  try {
    const begun = performance.now();
    const first = await steps(1);
    for (let i = 1; i < span.warmUp; i++) await steps(1);
    const start = performance.now();
    let last = first;
    let seconds = 0;
    let timed = 0;
    while (timed < span.steps && seconds < span.seconds) {
      const count = Math.min(BLOCK, span.steps - timed);
      last = await steps(count);
      timed += count;
      seconds = (performance.now() - start) / 1000;
    }
    return {
      attention,
      weights: variables.reduce((sum, { size }) => sum + size, 0),
      warmUpSeconds: (start - begun) / 1000,
      steps: timed,
      seconds,
      stepsPerSecond: timed / seconds,
      losses: [first, last],
    };
  } finally {
    adam.dispose();
    model.dispose();
  }
}
