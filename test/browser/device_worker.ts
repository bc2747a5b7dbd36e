/** What a worker under test runs: an operator on a WebGPU device that this package asks for. */
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { requestWebGPUDevice } from '../../src/backends/webgpu.js';
import { softmaxAttention } from '../../src/index.js';

/** The features of the device, and the mean of 1, 2 and 6, by an attention whose scores are all equal. */
async function compute(): Promise<{ readonly features: readonly string[]; readonly mean: number }> {
  const { features } = await requestWebGPUDevice();
  await tf.setBackend('webgpu');
  const options = { precision: 'fast' } as const;
  const out = softmaxAttention(tf.zeros([1, 1, 2]), tf.ones([1, 3, 2]), tf.tensor3d([1, 2, 6], [1, 3, 1]), options);
  const [mean] = await out.data();
  return { features: [...features], mean };
}

void compute().then(postMessage, (error: unknown) => postMessage(String(error)));
