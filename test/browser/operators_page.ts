/** What a page under test runs: the operators on `webgpu`, reachable from outside of the page. */
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import { requestWebGPUDevice } from '../../src/backends/webgpu.js';
import { softmaxAttention } from '../../src/index.js';

Object.assign(globalThis, {
  requestWebGPUDevice,
  /** The mean of 1, 2 and 6, by an attention whose scores are all equal. */
  async meanByAttention(): Promise<number> {
    await tf.setBackend('webgpu');
    const out = softmaxAttention(tf.zeros([1, 1, 2]), tf.ones([1, 3, 2]), tf.tensor3d([1, 2, 6], [1, 3, 1]));
    const [mean] = await out.data();
    return mean;
  },
});
