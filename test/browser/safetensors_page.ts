/** What a page under test runs: the sources of weights that a page has. */
import * as tf from '@tensorflow/tfjs';
import { loadSafetensors, saveSafetensors, torchMultiheadAttention } from '../../src/safetensors/index.js';
import { layers } from '../../src/layers/index.js';

const ADDRESS = 'multihead.safetensors';

const sources = {
  address: () => ADDRESS,
  URL: () => new URL(ADDRESS, location.href),
  Response: () => fetch(ADDRESS),
  ReadableStream: async () => (await fetch(ADDRESS)).body ?? ADDRESS,
  File: async () => new File([await (await fetch(ADDRESS)).blob()], ADDRESS),
};

export type Source = keyof typeof sources;

Object.assign(globalThis, {
  /** Loads a file of PyTorch's and gives back what `saveSafetensors` makes of it. */
  async roundTrip(source: Source): Promise<number[]> {
    await tf.setBackend('cpu');
    const layer = layers.softmaxAttention({ numHeads: 3, keyDim: 4 });
    layer.apply(tf.zeros([1, 1, 12]));
    const map = torchMultiheadAttention('');
    const { metadata } = await loadSafetensors(layer, await sources[source](), { map });
    return [...(await saveSafetensors(layer, { map, metadata }))];
  },

  /** What is said of a file that is not there. */
  async missing(): Promise<string> {
    const layer = tf.layers.dense({ units: 1 });
    layer.apply(tf.zeros([1, 1]));
    return loadSafetensors(layer, 'missing.safetensors').then(
      () => 'no error',
      (error: unknown) => (error as Error).message,
    );
  },
});
