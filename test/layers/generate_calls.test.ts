/** How a call of `generate` goes: streaming, stopping, aborting, seeds, memory, and what it refuses. */
import * as tf from '@tensorflow/tfjs-core';
import {
  input,
  layers as tfLayers,
  type LayersModel,
  model as makeModel,
  sequential,
  type SymbolicTensor,
} from '@tensorflow/tfjs-layers';
import { generate, type GenerateOptions, layers, type TokenInfo } from '../../src/layers/index.js';
import { useBackend } from '../backends.js';
import { randomizeWeights } from './kinds.js';

const VOCABULARY = 9;

/** A model of ids around some layers, with logits of every token. */
function modelOf(...inner: tfLayers.Layer[]): LayersModel {
  const made = sequential({
    layers: [
      tfLayers.embedding({ inputDim: VOCABULARY, outputDim: 8, batchInputShape: [null, null] }),
      ...inner,
      tfLayers.dense({ units: VOCABULARY }),
    ],
  });
  randomizeWeights(made, 7);
  return made;
}

const block = () => layers.transformerBlock({ attention: 'localLinear', numHeads: 2, keyDim: 4, useCausalMask: true });

let model: LayersModel;

beforeAll(async () => {
  await useBackend('cpu');
  model = modelOf(block());
});

const PROMPT = [3, 1, 4];
const PROMPTS = [PROMPT, [1, 5, 2, 6, 5]]; // prettier-ignore

/** A function as a caller without types would call it. */
const untyped = generate as (...args: unknown[]) => Promise<unknown>;

/** Runs something that must leave the number of tensors as it was. */
async function leaksNothing(run: () => Promise<unknown>): Promise<void> {
  const { numTensors } = tf.memory();
  await run();
  expect(tf.memory().numTensors).toBe(numTensors);
}

describe('results', () => {
  test('have the form of the prompt', async () => {
    const options = { maxTokens: 3, temperature: 0 };
    const single = await generate(model, PROMPT, options);
    expect(single).toHaveLength(3);
    expect(await generate(model, [PROMPT], options)).toEqual([single]);
    const [vector, matrix, floats] = [
      tf.tensor1d(PROMPT, 'int32'),
      tf.tensor2d([PROMPT, PROMPT], [2, 3], 'int32'),
      tf.tensor1d(PROMPT),
    ];
    expect(await generate(model, vector, options)).toEqual(single);
    expect(await generate(model, floats, options)).toEqual(single);
    expect(await generate(model, matrix, options)).toEqual([single, single]);
    tf.dispose([vector, matrix, floats]);
  });

  test('a seed repeats them, whatever maxTokens is; another one does not', async () => {
    const run = (options: GenerateOptions) => generate(model, PROMPT, { maxTokens: 20, temperature: 1.5, ...options });
    const first = await run({ seed: 5 });
    expect(await run({ seed: 5 })).toEqual(first);
    expect(await run({ seed: 5, maxTokens: 8 })).toEqual(first.slice(0, 8));
    expect(await run({ seed: 6 })).not.toEqual(first);
    expect(await run({})).not.toEqual(await run({}));
    expect(await run({ seed: 5, topK: 1 })).toEqual(await run({ temperature: 0 }));
    // Equal prompts of a batch have draws of their own.
    const [one, two] = await generate(model, [PROMPT, PROMPT], { maxTokens: 20, temperature: 1.5, seed: 5 });
    expect(one).not.toEqual(two);
  });

  test('stop tokens end each sequence for itself', async () => {
    const options = { maxTokens: 30, seed: 4, temperature: 2 };
    const free = await generate(model, PROMPTS, options);
    const streamed: (number | null)[][] = [];
    const stopTokens = [2, 7];
    const stopped = await generate(model, PROMPTS, { ...options, stopTokens, onToken: (ids) => streamed.push(ids) });
    const lengths = free.map((ids) => ids.findIndex((id) => stopTokens.includes(id)) + 1);
    expect(lengths[0]).not.toBe(lengths[1]);
    expect(stopped).toEqual(free.map((ids, b) => ids.slice(0, lengths[b])));
    expect(streamed).toHaveLength(Math.max(...lengths));
    streamed.forEach((ids, step) => expect(ids).toEqual(lengths.map((n, b) => (step < n ? free[b][step] : null))));
    expect(await generate(model, PROMPT, { ...options, stopTokens: free[0][0] })).toHaveLength(1);
  });
});

describe('while it runs', () => {
  test('what the caches hold is told with each token', async () => {
    const seen: number[] = [];
    const onToken = (_: unknown, { cacheBytes }: TokenInfo) => void seen.push(cacheBytes);
    await generate(model, PROMPT, { maxTokens: 5, onToken });
    // Room for all tokens is made at once.
    expect(seen).toEqual(Array<number>(5).fill(seen[0]));
    const twice: number[] = [];
    await generate(model, [PROMPT, PROMPT], {
      maxTokens: 5,
      onToken: (_, { cacheBytes }) => void twice.push(cacheBytes),
    });
    expect(seen[0]).toBeGreaterThan(0);
    expect(twice[0]).toBe(2 * seen[0]);
  });

  test('tokens are streamed, and a promise of onToken is awaited', async () => {
    const seen: (number | null)[] = [];
    let busy = false;
    const tokens = await generate(model, PROMPT, {
      maxTokens: 5,
      seed: 1,
      onToken: async ([token], { step }) => {
        expect([busy, step]).toEqual([false, seen.length]);
        busy = true;
        await new Promise((resolve) => setTimeout(resolve, 2));
        seen.push(token);
        busy = false;
      },
    });
    expect(seen).toEqual(tokens);
  });

  test('the event loop turns between tokens and between pieces of the prompt', async () => {
    const turns = { tokens: 0, timers: 0 };
    const timer = setInterval(() => turns.timers++, 0);
    const prompt = Array.from({ length: 40 }, (_, i) => i % VOCABULARY);
    let first = 0;
    await generate(model, prompt, {
      maxTokens: 50,
      seed: 1,
      prefillChunk: 2,
      onToken: () => {
        turns.tokens++;
        first ||= turns.timers;
      },
    });
    clearInterval(timer);
    expect(turns.tokens).toBe(50);
    expect(first).toBeGreaterThan(1);
    expect(turns.timers).toBeGreaterThan(first + 1);
  });

  test('10 or 200 tokens: the number of tensors is the same at each', async () => {
    const { numTensors } = tf.memory();
    const counts = new Set<number>();
    await generate(model, PROMPTS, { maxTokens: 200, seed: 1, onToken: () => counts.add(tf.memory().numTensors) });
    expect([...counts]).toHaveLength(1);
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test('two calls on one model do not meet', async () => {
    const options = { maxTokens: 12, seed: 2 };
    const [one, two] = [await generate(model, PROMPTS[0], options), await generate(model, PROMPTS[1], options)];
    expect(await Promise.all(PROMPTS.map((prompt) => generate(model, prompt, options)))).toEqual([one, two]);
  });
});

describe('aborted', () => {
  test.each([0, 1, 5])('at token %d: rejected with an AbortError, and no tensor is left', async (at) => {
    await leaksNothing(async () => {
      const controller = new AbortController();
      const seen: (number | null)[] = [];
      const running = generate(model, PROMPT, {
        maxTokens: 20,
        seed: 1,
        signal: controller.signal,
        onToken: ([token], { step }) => {
          seen.push(token);
          if (step === at) controller.abort();
        },
      });
      await expect(running).rejects.toMatchObject({ name: 'AbortError' });
      expect(seen).toHaveLength(at + 1);
    });
  });

  test('from outside, also between pieces of the prompt, with a reason', async () => {
    await leaksNothing(async () => {
      const controller = new AbortController();
      let called = 0;
      const running = generate(model, Array<number>(2000).fill(1), {
        prefillChunk: 1,
        signal: controller.signal,
        onToken: () => called++,
      });
      setTimeout(() => controller.abort('enough'), 5);
      await expect(running).rejects.toBe('enough');
      expect(called).toBe(0);
    });
  });

  test('before it begins', async () => {
    await leaksNothing(async () => {
      await expect(generate(model, PROMPT, { signal: AbortSignal.abort() })).rejects.toMatchObject({
        name: 'AbortError',
      });
    });
  });

  test('an error of onToken is passed on', async () => {
    await leaksNothing(async () => {
      const onToken = () => Promise.reject(new Error('full'));
      await expect(generate(model, PROMPT, { onToken })).rejects.toThrow('full');
    });
  });
});

describe('refuses', () => {
  async function refuses(run: () => Promise<unknown>, ...parts: RegExp[]): Promise<void> {
    await leaksNothing(async () => {
      const message = await run().then(
        () => 'nothing',
        (error: unknown) => (error as Error).message,
      );
      for (const part of parts) expect(message).toMatch(part);
    });
  }

  test.each<[string, unknown]>([
    ['maxTokens', 0],
    ['maxTokens', 1.5],
    ['temperature', -1],
    ['temperature', NaN],
    ['topK', 0],
    ['topP', 0],
    ['topP', 1.1],
    ['seed', 0.5],
    ['stopTokens', [-1]],
    ['stopTokens', 'end'],
    ['onToken', 3],
    ['signal', {}],
    ['prefillChunk', 0],
    ['window', 0],
    ['fromLogits', 1],
    ['max_tokens', 5],
  ])('%s: %p', (option, value) =>
    refuses(() => untyped(model, PROMPT, { [option]: value }), new RegExp(`^generate: ${option} (must|is no option)`)),
  );

  test('prompts that are none', async () => {
    const scalar = tf.scalar(1);
    const text = tf.tensor1d(['a']);
    for (const [prompt, message] of [
      ['text', /prompt must be an array.*got 'text'/],
      [[], /prompt is empty/],
      [[[1], []], /prompt\[1\] is empty/],
      [[1, 9], /prompt\[1\] must be one of 0 \.\. 8.*got 9/],
      [[[1], [2, -1]], /prompt\[1\]\[1\] must be.*got -1/],
      [[0.5], /prompt\[0\] must be.*got 0.5/],
      [[[1], 2], /prompt\[1\] must be an array of token ids, got 2/],
      [scalar, /prompt must have shape/],
      [text, /prompt must have dtype/],
    ] as const) {
      await refuses(() => untyped(model, prompt), /^generate: /, message);
    }
    tf.dispose([scalar, text]);
  });

  test.each<[string, RegExp, () => tfLayers.Layer]>([
    [
      'lstm',
      /LSTM 'mixer'/,
      () => tfLayers.lstm({ name: 'mixer', units: 8, returnSequences: true, recurrentInitializer: 'zeros' }),
    ],
    ['conv1d', /Conv1D 'mixer'/, () => tfLayers.conv1d({ name: 'mixer', filters: 8, kernelSize: 3, padding: 'same' })],
    ['permute', /Permute 'mixer'/, () => tfLayers.permute({ name: 'mixer', dims: [1, 2] })],
    [
      'attention that is not causal',
      /softmaxAttention 'mixer': useCausalMask/,
      () => layers.softmaxAttention({ name: 'mixer', numHeads: 1, keyDim: 4 }),
    ],
  ])('%s', async (_, message, make) => {
    const mixing = modelOf(block(), make());
    await refuses(() => generate(mixing, PROMPT), message);
    mixing.dispose();
  });

  test('layers along the axis of the tokens', async () => {
    const mixing = sequential({
      layers: [
        tfLayers.embedding({ inputDim: VOCABULARY, outputDim: 8, batchInputShape: [null, 3] }),
        tfLayers.layerNormalization({ axis: 1, name: 'mixer' }),
        tfLayers.dense({ units: VOCABULARY }),
      ],
    });
    await refuses(() => generate(mixing, PROMPT), /LayerNormalization 'mixer' along axis/);
    mixing.dispose();
  });

  test('cross-attention, several inputs, other shapes, and what is no model', async () => {
    const ids = input({ shape: [null] });
    const x = tfLayers.embedding({ inputDim: 9, outputDim: 8 }).apply(ids) as SymbolicTensor;
    const crossed = layers
      .softmaxAttention({ numHeads: 1, keyDim: 4, useCausalMask: true, name: 'cross' })
      .apply([x, x]);
    const cross = makeModel({ inputs: ids, outputs: crossed as SymbolicTensor });
    await refuses(() => generate(cross, PROMPT), /^generate: model.*'cross' with 2 inputs/);
    const other = input({ shape: [null, 8] });
    const two = makeModel({ inputs: [ids, other], outputs: tfLayers.add().apply([x, other]) as SymbolicTensor });
    await refuses(() => generate(two, PROMPT), /^generate: model must have one input/);
    const vectors = sequential({ layers: [tfLayers.dense({ units: 3, inputShape: [4, 2] })] });
    await refuses(() => generate(vectors, PROMPT), /^generate: model must take token ids \[B, T\]/);
    const pooled = sequential({ layers: [tfLayers.dense({ units: 3, inputShape: [4] })] });
    await refuses(() => generate(pooled, PROMPT), /^generate: model must give \[B, T, vocabulary\]/);
    const unbuilt = sequential();
    await refuses(() => generate(unbuilt, PROMPT), /has not been built/);
    await refuses(() => untyped({}, PROMPT), /^generate: model must be a tf.LayersModel/);
    for (const made of [two, vectors, pooled]) made.dispose();
  });

  test('a window where there is none, without a trace of other caches', async () => {
    const mixed = modelOf(block(), layers.mesaAttention({ numHeads: 2, keyDim: 4, useCausalMask: true }));
    await refuses(() => generate(mixed, PROMPT, { window: 3 }), /window/);
    mixed.dispose();
  });

  test('logits that are NaN', async () => {
    const broken = modelOf(block());
    const weights = broken.getWeights();
    broken.setWeights([...weights.slice(0, -1), tf.fill([VOCABULARY], NaN)]);
    await refuses(() => generate(broken, PROMPT), /^generate: model gave NaN or infinity for token 0 of sequence 0/);
    broken.dispose();
  });
});
