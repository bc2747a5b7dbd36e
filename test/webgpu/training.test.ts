/** Training on `webgpu` in Node: a regression model with one layer of local linear attention. */
import * as tf from '@tensorflow/tfjs';
import { layers } from '../../src/layers/index.js';
import { initBackend } from '../../src/node.js';
import '@tensorflow/tfjs-backend-cpu';

const STEPS = 200;
const [BATCH, T, DIM] = [2, 12, 4];

/** Losses of training from the same start on the same data, and the tensors that are alive at a step early and late. */
async function train(backend: 'cpu' | 'webgpu'): Promise<{ losses: number[]; early: number; late: number }> {
  await initBackend(backend);
  const glorot = (seed: number) => tf.initializers.glorotUniform({ seed });
  const model = tf.sequential({
    layers: [
      layers.localLinearAttention({
        inputShape: [T, DIM],
        numHeads: 2,
        keyDim: 4,
        useCausalMask: true,
        trainableRidge: true,
        kernelInitializer: glorot(1),
      }),
      tf.layers.dense({ units: 1, kernelInitializer: glorot(2) }),
    ],
  });
  const x = tf.randomNormal([BATCH, T, DIM], 0, 1, 'float32', 3);
  const y = tf.tidy(() => tf.sin(tf.sum(x, 2, true)));
  // Arithmetic without square roots of small numbers: Adam's would turn rounding into steps of full size.
  model.compile({ optimizer: tf.train.momentum(0.02, 0.9), loss: 'meanSquaredError' });
  const losses: number[] = [];
  let [early, late] = [0, 0];
  for (let step = 0; step < STEPS; step++) {
    losses.push(Number(await model.trainOnBatch(x, y)));
    if (step === 5) early = tf.memory().numTensors;
    late = tf.memory().numTensors;
  }
  model.dispose();
  tf.dispose([x, y]);
  return { losses, early, late };
}

afterAll(() => {
  tf.removeBackend('webgpu');
});

test(`${STEPS} steps: the loss falls as it does on cpu, and memory stays flat`, async () => {
  const onCpu = await train('cpu');
  const onGpu = await train('webgpu');
  expect(onGpu.losses[STEPS - 1]).toBeLessThan(0.5 * onGpu.losses[0]);
  onGpu.losses.forEach((loss, step) => {
    expect(Math.abs(loss - onCpu.losses[step])).toBeLessThan(1e-3 * Math.max(1, onCpu.losses[0]));
  });
  expect(onGpu.late).toBe(onGpu.early);
});
