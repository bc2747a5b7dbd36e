import { log, maximum, randomUniform, reshape, slice, type Tensor, tensor2d, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';

import {
  checkOptions,
  isBoolean,
  isPositiveInteger,
  type OptionCheck,
  printed,
  reject,
} from '../../kernels/common/validate.js';
import { ModelGraph, type StepCache } from './generation/model_graph.js';
import { pause } from './generation/pause.js';
import { type Batch, padPrompts, type Prompt, readPrompt } from './generation/prompt.js';
import { pickTokens, type Sampling, UNUSABLE } from './generation/sampling.js';

/** Options of `generate`. */
export interface GenerateOptions {
  /** Most tokens that are generated for a sequence. Default 128. */
  maxTokens?: number;
  /** Divides the logits before the softmax; 0 takes the likeliest token each time. Default 1. */
  temperature?: number;
  /** Samples among so many of the likeliest tokens only. Default: all. */
  topK?: number;
  /** Samples among the fewest likeliest tokens whose probabilities add up to this, in `(0, 1]`. Default 1: all. */
  topP?: number;
  /** An integer that makes sampling repeatable: the same prompt, options and seed give the same tokens. Default: none. */
  seed?: number;
  /** Tokens that end a sequence; each is the last one of what is returned. Default: none. */
  stopTokens?: number | readonly number[];
  /** Called for each new token of all sequences, as soon as it is there; awaited where it returns a promise. */
  onToken?: (tokens: (number | null)[], info: TokenInfo) => unknown;
  /** Aborts at the next token: the promise is rejected with the signal's reason, as that of `fetch` is. */
  signal?: AbortSignal;
  /** Number of tokens of the prompt that run at once; between them the page gets its turn. Default 512. */
  prefillChunk?: number;
  /** Number of last tokens that attention sees; linear and mesa attention refuse it. Default: all. */
  window?: number;
  /** Whether the model gives logits; otherwise probabilities. Default: `false` where it ends in a softmax. */
  fromLogits?: boolean;
}

/** What `onToken` is told besides the tokens. */
export interface TokenInfo {
  /** How many tokens there were before this one; 0 for the first. */
  readonly step: number;
  /** Bytes of the caches of all attention layers; a cache of a user's own counts by its `byteSize`, if it has one. */
  readonly cacheBytes: number;
}

const isTemperature: OptionCheck = (name, option, value) => {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return;
  reject(name, option, `must be a finite number, 0 or above, got ${printed(value)}`);
};

const isShare: OptionCheck = (name, option, value) => {
  if (typeof value === 'number' && value > 0 && value <= 1) return;
  reject(name, option, `must be a number in (0, 1], got ${printed(value)}`);
};

const isInteger: OptionCheck = (name, option, value) => {
  if (!Number.isSafeInteger(value)) reject(name, option, `must be an integer, got ${printed(value)}`);
};

const areTokens: OptionCheck = (name, option, value) => {
  const tokens: unknown[] = Array.isArray(value) ? value : [value];
  if (tokens.every((token) => Number.isSafeInteger(token) && Number(token) >= 0)) return;
  reject(name, option, `must be a token id or an array of them, got ${printed(value)}`);
};

const isFunction: OptionCheck = (name, option, value) => {
  if (typeof value !== 'function') reject(name, option, `must be a function, got ${printed(value)}`);
};

const isSignal: OptionCheck = (name, option, value) => {
  const { aborted } = (value ?? {}) as Partial<AbortSignal>;
  if (typeof aborted !== 'boolean') reject(name, option, `must be an AbortSignal, got ${printed(value)}`);
};

const checks: Readonly<Record<keyof GenerateOptions, OptionCheck>> = {
  maxTokens: isPositiveInteger,
  temperature: isTemperature,
  topK: isPositiveInteger,
  topP: isShare,
  seed: isInteger,
  stopTokens: areTokens,
  onToken: isFunction,
  signal: isSignal,
  prefillChunk: isPositiveInteger,
  window: isPositiveInteger,
  fromLogits: isBoolean,
};

/**
 * Generates tokens with a causal model of token ids: runs the prompt through it once, then one token at a time, with a
 * cache for each attention layer.
 *
 * ```js
 * const controller = new AbortController();
 * const tokens = await generate(model, [5, 1, 4], {
 *   maxTokens: 50,
 *   temperature: 0.8,
 *   topK: 40,
 *   onToken: ([token]) => show(token),
 *   signal: controller.signal,
 * });
 * ```
 *
 * The model, sequential or functional, maps ids `[B, T]` to logits `[B, T, V]` (or ends in a softmax). Its layers look at
 * one token at a time, as dense ones and embeddings do, or are causal layers of this package (`useCausalMask: true`). A
 * layer of a user's own takes part where it has `createCache(batchSize, { capacity, window, firstPosition })` and `step(x,
 * cache, { mask })`, as these layers have, or says `tokenwise = true`. Several prompts may differ in length: the shorter
 * ones are padded at their left, hidden by masks, and each sequence has its own positions, so that each gives what it
 * gives alone. Nothing is dropped, as in inference.
 *
 * Works asynchronously: the page gets its turn between tokens. No tensor is left, also where it fails or is aborted.
 *
 * @param model A `tf.LayersModel`.
 * @param prompt Token ids `[T]`, several of them, or a tensor `[T]` or `[B, T]`.
 * @param options See `GenerateOptions`.
 * @returns The new tokens, without the prompt: an array, or one for each sequence where there are several.
 * @throws Error that names what is unusable: an option, a token id, a layer that mixes tokens in another way. Logits that
 *   are NaN or infinity are an error, too. An aborted call is rejected with `signal.reason`; `onToken` has had all before.
 *
 * Source: top-p sampling is that of The Curious Case of Neural Text Degeneration, arXiv 1904.09751.
 */
export async function generate(
  model: LayersModel,
  prompt: readonly number[],
  options?: GenerateOptions,
): Promise<number[]>;
export async function generate(
  model: LayersModel,
  prompt: readonly (readonly number[])[],
  options?: GenerateOptions,
): Promise<number[][]>;
export async function generate(
  model: LayersModel,
  prompt: Prompt,
  options?: GenerateOptions,
): Promise<number[] | number[][]>;
export async function generate(
  model: LayersModel,
  prompt: Prompt,
  options: GenerateOptions = {},
): Promise<number[] | number[][]> {
  checkOptions('generate', options, checks);
  options.signal?.throwIfAborted();
  const graph = new ModelGraph(model);
  const { rows, single } = await readPrompt(prompt, graph.vocabulary);
  const sequences = await new Generation(graph, padPrompts(rows), options).run();
  return single ? sequences[0] : sequences;
}

/** Numbers of a tensor, which is disposed. */
async function take(x: Tensor): Promise<number[]> {
  try {
    return Array.from(await x.data());
  } finally {
    x.dispose();
  }
}

/** One call of `generate`. */
class Generation {
  private readonly batchSize: number;
  private readonly sampling: Sampling;
  private readonly stopTokens: ReadonlySet<number>;
  private readonly maxTokens: number;
  private caches: StepCache[] = [];
  /** Uniform numbers `[maxTokens, B]` in `(0, 1]`. */
  private draws: Tensor | undefined;

  constructor(
    private readonly graph: ModelGraph,
    private readonly prompts: Batch,
    private readonly options: GenerateOptions,
  ) {
    const { temperature = 1, topK, topP, stopTokens = [], maxTokens = 128 } = options;
    this.batchSize = prompts.padding.length;
    this.sampling = { temperature, topK, topP };
    this.stopTokens = new Set(typeof stopTokens === 'number' ? [stopTokens] : stopTokens);
    this.maxTokens = maxTokens;
  }

  async run(): Promise<number[][]> {
    const { maxTokens, batchSize } = this;
    const { seed, window } = this.options;
    // The last token is never run.
    const room = window === undefined ? { capacity: this.prompts.length + maxTokens - 1 } : { window };
    const firstPosition = this.prompts.padding.map((count) => -count);
    this.caches = this.graph.createCaches(batchSize, { ...room, firstPosition });
    try {
      this.draws = tidy(() => maximum(randomUniform([maxTokens, batchSize], 0, 1, 'float32', seed), 1e-30));
      return await this.decode(await this.prefill());
    } finally {
      for (const cache of this.caches) cache.dispose();
      this.draws?.dispose();
    }
  }

  /** Runs the prompts but for their last tokens' chunk, which gives the first new token `[B]`. */
  private async prefill(): Promise<Tensor> {
    const { length } = this.prompts;
    const { prefillChunk: chunk = 512 } = this.options;
    let begin = 0;
    for (; begin + chunk < length; begin += chunk) {
      const from = begin;
      // A device works through what it was given in order: one number tells that it is done with all before.
      await take(tidy(() => slice(reshape(this.runPrompts(from, from + chunk), [-1]), [0], [1])));
      await this.yield();
    }
    return tidy(() => this.pick(this.runPrompts(begin, length), 0));
  }

  /** The model's output for the last of some tokens of the prompts, `[B, 1, V]`. */
  private runPrompts(begin: number, end: number): Tensor {
    const { ids, length, padding } = this.prompts;
    const t = end - begin;
    const cut = Array.from({ length: this.batchSize }, (_, b) => ids.slice(b * length + begin, b * length + end));
    const shape: [number, number] = [this.batchSize, t];
    const part = tensor2d(cut.flatMap((row) => Array.from(row)), shape, 'int32'); // prettier-ignore
    if (padding.every((count) => count <= begin)) return this.graph.step(part, this.caches);
    const visible = padding.flatMap((count) => Array.from({ length: t }, (_, i) => begin + i >= count));
    return this.graph.step(part, this.caches, tensor2d(visible, shape, 'bool'));
  }

  /** A token for each sequence, `[B]`, from the model's output `[B, 1, V]`. */
  private pick(output: Tensor, step: number): Tensor {
    const { fromLogits = !this.graph.endsInSoftmax } = this.options;
    const rows = reshape(output, [this.batchSize, -1]);
    const draws = this.draws ?? reject('generate', 'draws', 'are gone');
    const own = reshape(slice(draws, [step, 0], [1, this.batchSize]), [this.batchSize]);
    return pickTokens(fromLogits ? rows : log(rows), this.sampling, own);
  }

  private async decode(first: Tensor): Promise<number[][]> {
    const sequences = Array.from({ length: this.batchSize }, (): number[] => []);
    const ended = sequences.map(() => false);
    let next = first;
    for (let step = 0; ; step++) {
      const ids = await take(next);
      this.options.signal?.throwIfAborted();
      const unusable = ids.findIndex((id, b) => id === UNUSABLE && !ended[b]);
      if (unusable >= 0) {
        reject(
          'generate',
          'model',
          `gave NaN or infinity for token ${step} of sequence ${unusable}, not a distribution`,
        );
      }
      const tokens = ids.map((id, b) => (ended[b] ? null : id));
      tokens.forEach((token, b) => {
        if (token === null) return;
        sequences[b].push(token);
        ended[b] = this.stopTokens.has(token);
      });
      const cacheBytes = this.caches.reduce((sum, { byteSize = 0 }) => sum + byteSize, 0);
      await this.options.onToken?.(tokens, { step, cacheBytes });
      if (step + 1 === this.maxTokens || ended.every(Boolean)) return sequences;
      await this.yield();
      // What a sequence that has ended goes on with, no other one sees.
      const fed = sequences.map((sequence) => sequence[sequence.length - 1]);
      next = tidy(() => {
        const output = this.graph.step(tensor2d(fed, [this.batchSize, 1], 'int32'), this.caches);
        return this.pick(output, step + 1);
      });
    }
  }

  /** Lets others run; throws where the call has been aborted. */
  private async yield(): Promise<void> {
    this.options.signal?.throwIfAborted();
    await pause();
    this.options.signal?.throwIfAborted();
  }
}
