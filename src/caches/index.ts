import { isOneOf } from '../../kernels/common/validate.js';
import { AttentionCache } from './attention_cache.js';
import { type AttentionCacheOptions, cachedOperators } from './operators.js';
import { cacheSettings } from './options.js';

/**
 * Makes a cache for decoding: each step appends tokens and attends from them to all that came before, for the price of
 * the new rows alone.
 *
 * ```js
 * const cache = attentionCache('localLinear', { ridge: 0.5, capacity: 256 });
 * const prefill = cache.step(q, k, v);             // [B, H, 100, D] each: as localLinearAttention(q, k, v, { causal: true })
 * const next = cache.step(q1, k1, v1);             // [B, H, 1, D] each: one token more
 * cache.dispose();
 * ```
 *
 * @param operator `'localLinear'`, `'softmax'`, `'linear'`, `'parallax'` or `'mesa'`.
 * @param options The operator's options that stay the same from step to step (`scale`, `ridge`, `solver`, ...; not
 *   `causal`, which every step is), `capacity` (1024), `grow` (true), `window` (none).
 * @returns An empty cache; its tensors are made at the first step, on the backend that is current then.
 * @throws Error that names the operator and the option, where one is unusable.
 *
 * Source: Local Linear Attention, arXiv 2510.01450, for its inference by one pass over keys and values.
 */
export function attentionCache<Name extends keyof AttentionCacheOptions>(
  operator: Name,
  options: AttentionCacheOptions[Name] = {},
): AttentionCache {
  isOneOf(...Object.keys(cachedOperators))('attentionCache', 'operator', operator);
  const cached = cachedOperators[operator];
  return new AttentionCache(cached, cacheSettings(cached, options));
}
