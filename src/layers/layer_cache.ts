import type { Tensor } from '@tensorflow/tfjs-core';

import {
  checkOptions,
  isBoolean,
  isPositiveInteger,
  type OptionCheck,
  printed,
  reject,
} from '../../kernels/common/validate.js';
import type { AttentionCache } from '../caches/attention_cache.js';
import { checkMaskShape, isTensor } from './inputs.js';

/** Options of `layer.createCache`. */
export interface LayerCacheOptions {
  /** Number of tokens for which room is made at once; it doubles when it is full. Default: as `attentionCache`. */
  capacity?: number;
  /** Whether a full cache grows; `false` makes it an error. Default `true`. */
  grow?: boolean;
  /** Number of last tokens that are kept and seen, a token's own among them. Default: all. */
  window?: number;
  /**
   * Position of each sequence's first token, for rotary embedding; one for all, or one each. Where a sequence is padded
   * at its left, minus the number of padded tokens makes its own first token position 0. Default 0.
   */
  firstPosition?: number | readonly number[];
}

/** Options of `layer.step`. */
export interface LayerStepOptions {
  /** `[B, t]`, bool or zeros and ones: hides new tokens from all that come after, too. */
  mask?: Tensor;
}

/** A layer that goes through a sequence step by step. */
export interface SteppedLayer<Cache = LayerCache> {
  createCache(batchSize: number, options?: LayerCacheOptions): Cache;
  step(x: Tensor, cache: Cache, options?: LayerStepOptions): Tensor;
}

const isFirstPosition: OptionCheck = (layer, option, value) => {
  const positions: unknown[] = Array.isArray(value) ? value : [value];
  if (positions.length > 0 && positions.every(Number.isSafeInteger)) return;
  reject(layer, option, `must be an integer or an array of them, got ${printed(value)}`);
};

/** Whose cache it is, and where its sequences begin. */
interface CacheSettings {
  readonly owner: object;
  readonly label: string;
  readonly batchSize: number;
  readonly firstPositions: readonly number[];
}

/**
 * What a layer keeps of the tokens of `batchSize` sequences; `layer.createCache` makes one, `layer.step` adds to it. It
 * holds tensors until `dispose`, also inside `tf.tidy`.
 */
export class LayerCache {
  // Fields that tfjs cannot see: `tf.dispose` of an object that holds a cache would walk on to the layer's weights.
  readonly #settings: CacheSettings;
  readonly #inner: AttentionCache | LayerCache;
  #firstPositions: readonly number[];
  #position: number;

  /** @internal */
  constructor(settings: CacheSettings, inner: AttentionCache | LayerCache, position = 0) {
    this.#settings = settings;
    this.#inner = inner;
    this.#firstPositions = settings.firstPositions;
    this.#position = position;
  }

  /**
   * The cache of the layer's operator, or of the layer inside it.
   *
   * @internal
   */
  get inner(): AttentionCache | LayerCache {
    return this.#inner;
  }

  /** Number of tokens that it holds. */
  get length(): number {
    return this.#inner.length;
  }

  /** Number of tokens that it has room for. */
  get capacity(): number {
    return this.#inner.capacity;
  }

  /** Bytes of its tensors. */
  get byteSize(): number {
    return this.#inner.byteSize;
  }

  /** Number of sequences. */
  get batchSize(): number {
    return this.#settings.batchSize;
  }

  /**
   * Position of the next token, for rotary embedding: one for all sequences, or one each.
   *
   * @internal
   */
  get next(): number | number[] {
    const positions = this.#firstPositions.map((first) => first + this.#position);
    return positions.every((position) => position === positions[0]) ? positions[0] : positions;
  }

  /**
   * Notes that `t` tokens have been added.
   *
   * @internal
   */
  advance(t: number): void {
    this.#position += t;
  }

  /** Keeps the first `n` tokens: those after it, rejected guesses say, are forgotten, and positions go on from there. */
  truncate(n: number): void {
    const before = this.length;
    this.#inner.truncate(n);
    this.#position -= before - this.length;
  }

  /** Makes sequence `i` what sequence `indices[i]` was: one index per sequence, repeats allowed. */
  reorder(indices: readonly number[] | Int32Array): void {
    this.#inner.reorder(indices);
    this.#firstPositions = Array.from(indices, (index) => this.#firstPositions[index]);
  }

  /** A copy that goes its own way. */
  clone(): LayerCache {
    return new LayerCache(
      { ...this.#settings, firstPositions: this.#firstPositions },
      this.#inner.clone(),
      this.#position,
    );
  }

  /** Frees its tensors. */
  dispose(): void {
    this.#inner.dispose();
  }

  /** Throws where the cache is not one of this layer and this batch. */
  private checkFor(owner: object, label: string, batchSize: number): void {
    const settings = this.#settings;
    if (settings.owner !== owner) {
      reject(label, 'cache', `must be one that this layer's createCache made, got one of ${settings.label}`);
    }
    if (settings.batchSize !== batchSize) {
      reject(label, 'x', `must have the batch size of the cache, ${settings.batchSize}, got ${batchSize}`);
    }
  }

  /**
   * Throws where what a step was given is not usable.
   *
   * @internal
   */
  static check(owner: object, label: string, x: unknown, cache: unknown, options: LayerStepOptions): void {
    if (!isTensor(x)) reject(label, 'x', `must be a tensor [B, t, features], got ${printed(x)}`);
    if (x.isDisposed) reject(label, 'x', `is a disposed tensor, shape [${x.shape.join(', ')}]`);
    if (!(cache instanceof LayerCache)) {
      reject(label, 'cache', `must be one that this layer's createCache made, got ${printed(cache)}`);
    }
    if (x.rank === 3) cache.checkFor(owner, label, x.shape[0]);
    checkOptions(label, options, { mask: () => undefined });
    const mask: unknown = options.mask;
    if (mask === undefined || mask === null) return;
    if (!isTensor(mask)) reject(label, 'mask', `must be a tensor, got ${printed(mask)}`);
    checkMaskShape(label, 'mask', mask.shape, x.shape.slice(0, 2), '[B, t]');
  }
}

/** Throws where a layer cannot go step by step. */
export function checkSteppable(label: string, built: boolean, causal: boolean | undefined): void {
  if (causal !== true) {
    reject(
      label,
      'useCausalMask',
      'must be true for a cache: without it tokens see later ones, which a step has not got',
    );
  }
  if (!built) reject(label, 'createCache', 'and step need a layer that is built: call it, or its model, once');
}

/** Checks the arguments of `createCache`; gives what belongs to the layer's cache and what to its operator's. */
export function cacheSettings(
  owner: object,
  label: string,
  batchSize: number,
  options: LayerCacheOptions,
): [CacheSettings, Omit<LayerCacheOptions, 'firstPosition'>] {
  isPositiveInteger(label, 'batchSize', batchSize);
  checkOptions(label, options, {
    capacity: isPositiveInteger,
    grow: isBoolean,
    window: isPositiveInteger,
    firstPosition: isFirstPosition,
  });
  const { firstPosition = 0, ...room } = options;
  const firstPositions =
    typeof firstPosition === 'number' ? Array<number>(batchSize).fill(firstPosition) : firstPosition;
  if (firstPositions.length !== batchSize) {
    reject(label, 'firstPosition', `must have one entry per sequence, ${batchSize}, got ${firstPositions.length}`);
  }
  return [{ owner, label, batchSize, firstPositions }, room];
}
