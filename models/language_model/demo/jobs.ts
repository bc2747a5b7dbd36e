/** What the language model's part of the page *Use it* asks its worker to do. */
import * as tf from '@tensorflow/tfjs-core';
import type { layers as tfLayers, LayersModel } from '@tensorflow/tfjs-layers';
import { type Addresses, loadSaved, namesOf, type OnBytes } from '../../../demos/engine/saved_models.js';
import { generate, type WeighedLayer } from '../../../src/layers/index.js';
import type { Attention } from '../../trainer/experiment.js';
import { savedNotes } from '../../trainer/saved_notes.js';

const FILES = {
  models: import.meta.glob('../results/*/model.json', { query: '?url', import: 'default', eager: true }) as Addresses,
  weights: import.meta.glob('../results/*/*.bin', { query: '?url', import: 'default', eager: true }) as Addresses,
};

export interface LoadedModel {
  readonly attention: Attention;
  readonly weights: number;
  readonly blocks: number;
  readonly heads: number;
  /** Bytes of the windows that it was trained on. */
  readonly context: number;
}

export interface WriteOptions {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly seed?: number;
}

/** A new byte, and what the caches hold. */
export type OnByte = (byte: number, cacheBytes: number) => void | Promise<void>;

type Block = tfLayers.Layer & WeighedLayer;

let loaded: { readonly model: LayersModel; readonly about: LoadedModel } | undefined;

function current() {
  if (loaded === undefined) throw new Error('no model is loaded');
  return loaded;
}

const blocksOf = (model: LayersModel): Block[] =>
  model.layers.filter((layer): layer is Block => layer.getClassName() === 'TransformerBlockLayer');

export const jobs = {
  names: () => namesOf(FILES.models),

  async load(name: string, onBytes: OnBytes): Promise<LoadedModel> {
    loaded?.model.dispose();
    loaded = undefined;
    const model = await loadSaved(name, FILES, onBytes);
    const { attention, settings } = savedNotes(model.getUserDefinedMetadata(), 'language_model', name);
    const weights = model.countParams();
    const about = {
      attention,
      weights,
      blocks: blocksOf(model).length,
      heads: settings.heads,
      context: settings.context,
    };
    loaded = { model, about };
    return about;
  },

  /** Writes on, byte by byte, through the caches; those of linear and mesa attention take no window. */
  async write(prompt: Uint8Array, options: WriteOptions, onByte: OnByte): Promise<void> {
    const { model, about } = current();
    const hasWindow = about.attention !== 'linear' && about.attention !== 'mesa';
    await generate(model, Array.from(prompt), {
      ...options,
      ...(hasWindow && { window: about.context }),
      onToken: ([byte], { cacheBytes }) => (byte === null ? undefined : onByte(byte, cacheBytes)),
    });
  },

  /** What the last byte looks at in a block: for each head the weights of all bytes, `[heads][bytes]`. */
  async weights(bytes: Uint8Array, block: number): Promise<Float32Array[]> {
    const { model } = current();
    const found = tf.tidy(() => {
      const ids = tf.tensor2d(bytes, [1, bytes.length], 'int32');
      const before = model.layers.slice(0, model.layers.indexOf(blocksOf(model)[block]));
      const x = before.reduce((input: tf.Tensor, layer) => layer.apply(input) as tf.Tensor, ids);
      const weights = blocksOf(model)[block].attentionWeights(x, { rows: 1 });
      return tf.reshape<tf.Rank.R2>(weights, [-1, bytes.length]);
    });
    try {
      const values = await found.data<'float32'>();
      return Array.from({ length: found.shape[0] }, (_, head) =>
        values.slice(head * bytes.length, (head + 1) * bytes.length),
      );
    } finally {
      found.dispose();
    }
  },
};
