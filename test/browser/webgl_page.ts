/** What a page under test runs: backend `webgl`, on devices that lack something. */
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgl';
import * as tf from '@tensorflow/tfjs-core';
import { localLinearAttention, softmaxAttention } from '../../src/index.js';
import '../../src/backends/webgl.js';
import { findKernel } from '../../src/registry.js';

type WebGl = tf.KernelBackend & { getGPGPUContext(): { readonly gl: WebGLRenderingContext } };

/** `count` numbers that look random. */
const numbers = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => 2 * Math.sin((i + 1) * seed));

function inputs(n: number): tf.Tensor3D[] {
  return [1.7, 2.3, 3.1].map((seed) => tf.tensor3d(numbers(2 * n * 6, seed), [2, n, 6]));
}

/** What went wrong in a call, and how many tensors it left behind. */
function failure(call: () => tf.Tensor): { message: string; leaked: number } {
  const before = tf.memory().numTensors;
  try {
    call().dispose();
    return { message: 'no error', leaked: tf.memory().numTensors - before };
  } catch (error) {
    return { message: (error as Error).message, leaked: tf.memory().numTensors - before };
  }
}

const page = {
  /** Which numbers of output and gradients are none, on two backends, by a key and a query that hold NaN and a hidden NaN. */
  async notNumbers(): Promise<string[]> {
    const found: string[] = [];
    for (const backend of ['webgl', 'cpu']) {
      await tf.setBackend(backend);
      const data = [1.7, 2.3, 3.1].map((seed) => numbers(2 * 21 * 6, seed));
      data[0][9 * 6 + 1] = NaN;
      data[1][12 * 6 + 4] = NaN;
      data[2][3 * 6] = Infinity;
      const bias = Array.from({ length: 42 }, (_, j) => (j === 3 ? -Infinity : 0.1));
      const [q, k, v] = data.map((array) => tf.tensor3d(array, [2, 21, 6]));
      const keyBias = tf.tensor2d(bias, [2, 21]);
      const attention = (...args: tf.Tensor[]) =>
        localLinearAttention(args[0], args[1], args[2], { causal: true, keyBias: args[3] });
      const inputs = [q, k, v, keyBias];
      const out = attention(...inputs);
      const dout = tf.tensor(numbers(out.size, 0.9), out.shape);
      const gradients = tf.grads(attention)(inputs, dout);
      const marks: string[] = [];
      for (const tensor of [out, ...gradients]) {
        marks.push(
          Array.from(await tensor.data(), (x) => (Number.isNaN(x) ? 'N' : Number.isFinite(x) ? '.' : 'I')).join(''),
        );
      }
      tf.dispose([...inputs, out, dout, ...gradients]);
      found.push(marks.join(' '));
    }
    return found;
  },

  /** More keys than a texture has rows of. */
  async overLimit() {
    await tf.setBackend('webgl');
    const [q, k, v] = inputs(400);
    const limit = tf.env().getNumber('WEBGL_MAX_TEXTURE_SIZE');
    tf.env().set('WEBGL_MAX_TEXTURE_SIZE', 80);
    const failed = failure(() => softmaxAttention(q, k, v));
    tf.env().set('WEBGL_MAX_TEXTURE_SIZE', limit);
    const [mean] = await tf.mean(softmaxAttention(q, k, v)).data();
    return { ...failed, mean };
  },

  /** A call on a context that is lost. */
  async lost() {
    await tf.setBackend('webgl');
    const [q, k, v] = inputs(8);
    softmaxAttention(q, k, v).dispose();
    const { gl } = (tf.backend() as WebGl).getGPGPUContext();
    const extension = gl.getExtension('WEBGL_lose_context');
    if (!extension) throw new Error('contexts cannot be lost here');
    extension.loseContext();
    return failure(() => localLinearAttention(q, k, v));
  },

  /** A device of float16 textures: the warnings, and whether the kernel is still its own. */
  async float16() {
    const warnings: string[] = [];
    console.warn = (text: string) => warnings.push(text);
    tf.env().set('WEBGL_RENDER_FLOAT32_ENABLED', false);
    await tf.setBackend('webgl');
    const own = findKernel('SoftmaxAttention', 'webgl')?.kernelFunc;
    const [q, k, v] = inputs(5);
    const out = await softmaxAttention(q, k, v).data();
    localLinearAttention(q, k, v).dispose();
    await tf.setBackend('cpu');
    const expected = await softmaxAttention(q, k, v).data();
    const differences = Array.from(out, (x, i) => Math.abs(x - expected[i]));
    return {
      warnings,
      isOwn: findKernel('SoftmaxAttention', 'webgl')?.kernelFunc === own,
      difference: Math.max(...differences),
    };
  },
};

export type WebGlPage = typeof page;

Object.assign(globalThis, page);
