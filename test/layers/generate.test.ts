/** `generate` gives what calls on whole sequences give, token by token. */
import * as tf from '@tensorflow/tfjs-core';
import {
  initializers,
  input,
  layers as tfLayers,
  type LayersModel,
  loadLayersModel,
  model as makeModel,
  type Sequential,
  sequential,
  type SymbolicTensor,
} from '@tensorflow/tfjs-layers';
import { generate, type GenerateOptions, layers } from '../../src/layers/index.js';
import { backends, useBackend } from '../backends.js';
import { PositionEmbedding } from './position_embedding.js';
import { type Kind, kinds, makeLayer, randomizeWeights } from './kinds.js';

const VOCABULARY = 11;
const GREEDY: GenerateOptions = { maxTokens: 6, temperature: 0 };

/** Embedding, two layers of a kind and logits, with random weights. */
function languageModel(kind: Kind, maskZero = false): Sequential {
  const attention = () => makeLayer(kind, { useCausalMask: true, rotary: true });
  const made = sequential({
    layers: [
      tfLayers.embedding({ inputDim: VOCABULARY, outputDim: 8, maskZero, batchInputShape: [null, null] }),
      attention(),
      tfLayers.layerNormalization(),
      attention(),
      tfLayers.dense({ units: VOCABULARY }),
    ],
  });
  randomizeWeights(made, 7);
  return made;
}

/** The likeliest tokens, each by a call on everything before it. */
async function expected(model: LayersModel, prompt: readonly number[], count = 6): Promise<number[]> {
  const all = [...prompt];
  for (let step = 0; step < count; step++) {
    const next = tf.tidy(() => {
      const logits = tf.squeeze(model.predict(tf.tensor2d(all, [1, all.length])) as tf.Tensor, [0]);
      return tf.argMax(tf.slice(logits, [all.length - 1, 0], [1, -1]), -1);
    });
    all.push((await next.data())[0]);
    next.dispose();
  }
  return all.slice(prompt.length);
}

/** The same for several prompts, each for itself. */
async function eachAlone(model: LayersModel, prompts: readonly number[][]): Promise<number[][]> {
  const sequences: number[][] = [];
  for (const prompt of prompts) sequences.push(await expected(model, prompt));
  return sequences;
}

const seeded = (seed: number) => initializers.glorotUniform({ seed });

const PROMPT = [3, 1, 4, 1, 5, 9, 2, 6];

describe.each(backends)('on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(kinds)('%s: the likeliest tokens are those of calls on all before', async (kind) => {
    const model = languageModel(kind);
    const tokens = await expected(model, PROMPT);
    expect(await generate(model, PROMPT, GREEDY)).toEqual(tokens);
    expect(await generate(model, PROMPT, { ...GREEDY, prefillChunk: 3 })).toEqual(tokens);
    expect(await generate(model, PROMPT.slice(0, 1), GREEDY)).toEqual(await expected(model, PROMPT.slice(0, 1)));
    model.dispose();
  });

  test.each(kinds)('%s: prompts of different lengths give what each gives alone', async (kind) => {
    const model = languageModel(kind);
    const prompts = [[5, 2], PROMPT, [7], [1, 8, 3, 4]];
    const alone = await eachAlone(model, prompts);
    expect(await generate(model, prompts, GREEDY)).toEqual(alone);
    expect(await generate(model, prompts, { ...GREEDY, prefillChunk: 2 })).toEqual(alone);
    model.dispose();
  });
});

describe('models', () => {
  beforeAll(() => useBackend('cpu'));

  test('a mask of the embedding hides zeros besides', async () => {
    const model = languageModel('transformerBlock', true);
    const prompts = [[5, 0, 2], [0, 3, 0, 7, 1]]; // prettier-ignore
    expect(await generate(model, prompts, GREEDY)).toEqual(await eachAlone(model, prompts));
    model.dispose();
  });

  test('functional, with branches, a nested model, a shared layer and a position embedding of its own', async () => {
    const ids = input({ shape: [null] });
    const embedded = tfLayers.embedding({ inputDim: VOCABULARY, outputDim: 8 }).apply(ids) as SymbolicTensor;
    const placed = new PositionEmbedding({ size: 40 }).apply(embedded) as SymbolicTensor;
    const shared = layers.mesaAttention({ numHeads: 2, keyDim: 4, useCausalMask: true });
    const inner = sequential({
      layers: [
        layers.transformerBlock({
          attention: 'softmax',
          numHeads: 2,
          keyDim: 4,
          useCausalMask: true,
          inputShape: [null, 8],
        }),
        tfLayers.timeDistributed({ layer: tfLayers.dense({ units: 8, activation: 'tanh' }) }),
      ],
    });
    const once = shared.apply(placed) as SymbolicTensor;
    const branches = [shared.apply(once), inner.apply(placed), tfLayers.dropout({ rate: 0.5 }).apply(once)];
    const joined = tfLayers.concatenate().apply(branches as SymbolicTensor[]);
    const outputs = tfLayers.dense({ units: VOCABULARY }).apply(joined) as SymbolicTensor;
    const model = makeModel({ inputs: ids, outputs });
    randomizeWeights(model, 4);
    const prompts = [PROMPT, [2, 5]];
    expect(await generate(model, prompts, { ...GREEDY, prefillChunk: 5 })).toEqual(await eachAlone(model, prompts));
    model.dispose();
  });

  test('one of a fixed inputLength that ends in a softmax goes on beyond that length', async () => {
    const made = (inputLength?: number) => {
      const model = sequential({
        layers: [
          tfLayers.embedding({
            inputDim: VOCABULARY,
            outputDim: 8,
            ...(inputLength ? { inputLength } : { batchInputShape: [null, null] }),
          }),
          layers.linearAttention({ numHeads: 2, keyDim: 4, useCausalMask: true }),
          tfLayers.dense({ units: VOCABULARY, activation: 'softmax' }),
        ],
      });
      randomizeWeights(model, 2);
      return model;
    };
    const [fixed, free] = [made(4), made()];
    expect(await generate(fixed, PROMPT, GREEDY)).toEqual(await expected(free, PROMPT));
    // The same draws from probabilities and from their logarithms.
    const options = { maxTokens: 20, seed: 3, temperature: 0.7 };
    const tokens = await generate(fixed, PROMPT, options);
    fixed.dispose();
    const logits = sequential({ layers: [...free.layers.slice(0, 2), tfLayers.dense({ units: VOCABULARY })] });
    logits.layers[2].setWeights(free.layers[2].getWeights());
    expect(await generate(logits, PROMPT, options)).toEqual(tokens);
    logits.dispose();
  });

  test('window: the last tokens only', async () => {
    const model = sequential({
      layers: [
        tfLayers.embedding({ inputDim: VOCABULARY, outputDim: 8, batchInputShape: [null, null] }),
        layers.localLinearAttention({ numHeads: 2, keyDim: 4, useCausalMask: true, rotary: true }),
        tfLayers.dense({ units: VOCABULARY }),
      ],
    });
    randomizeWeights(model, 8);
    const all = [...PROMPT];
    for (let step = 0; step < 6; step++) all.push(...(await expected(model, all.slice(-4), 1)));
    expect(await generate(model, PROMPT, { ...GREEDY, window: 4 })).toEqual(all.slice(PROMPT.length));
    model.dispose();
  });

  test('one that has learned to count goes on counting, also saved and loaded again', async () => {
    const model = sequential({
      layers: [
        tfLayers.embedding({ inputDim: 7, outputDim: 12, inputLength: 12, embeddingsInitializer: seeded(1) }),
        layers.transformerBlock({
          attention: 'localLinear',
          numHeads: 2,
          keyDim: 6,
          useCausalMask: true,
          rotary: true,
          kernelInitializer: seeded(2),
        }),
        tfLayers.dense({ units: 7, activation: 'softmax', kernelInitializer: seeded(3) }),
      ],
    });
    // Sequences that count by one or by two, modulo seven: the step has to be read from the prompt.
    const rows = Array.from({ length: 28 }, (_, b) =>
      Array.from({ length: 13 }, (_, t) => (b + t * (1 + (b % 2))) % 7),
    );
    const x = tf.tensor2d(rows.map((row) => row.slice(0, 12)));
    const y = tf.tensor3d(rows.map((row) => row.slice(1).map((id) => [id])));
    model.compile({ optimizer: tf.train.adam(0.02), loss: 'sparseCategoricalCrossentropy' });
    await model.fit(x, y, { epochs: 25, batchSize: 14, shuffle: false });
    const prompts = [[3, 4, 5, 6], [1, 3, 5, 0, 2]]; // prettier-ignore
    const count = [
      [0, 1, 2, 3, 4, 5, 6, 0, 1, 2],
      [4, 6, 1, 3, 5, 0, 2, 4, 6, 1],
    ];
    expect(await generate(model, prompts, { maxTokens: 10, temperature: 0 })).toEqual(count);
    let saved: tf.io.ModelArtifacts | undefined;
    await model.save(
      tf.io.withSaveHandler((artifacts) => {
        saved = artifacts;
        return Promise.resolve({ modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: 'JSON' } });
      }),
    );
    const again = await loadLayersModel(tf.io.fromMemory(saved ?? {}));
    const options = { maxTokens: 10, seed: 1 };
    expect(await generate(again, prompts, options)).toEqual(await generate(model, prompts, options));
    expect(await generate(again, prompts, { maxTokens: 10, temperature: 0 })).toEqual(count);
    tf.dispose([x, y]);
    model.dispose();
    again.dispose();
  });
});
