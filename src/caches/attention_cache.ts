import { dispose, keep, type Tensor, type TensorLike, tidy } from '@tensorflow/tfjs-core';

import { printed, reject } from '../../kernels/common/validate.js';
import { type PreparedCall, currentBackend, prepare } from '../ops/run.js';
import { enlarged, gathered } from './copied.js';
import { keepAll } from './keep_all.js';
import type { CachedOperator, CacheStepOptions } from './operators.js';
import { type CacheSettings, checkIndices, checkStepOptions } from './options.js';
import { runStep } from './run_step.js';
import type { CacheShape, StateTensors } from './state.js';

/** What a cache holds once it knows the sizes of its tokens. */
interface Held {
  readonly tensors: StateTensors;
  readonly shape: CacheShape;
  readonly capacity: number;
  /** The backend that the tensors are on: steps write into them there. */
  readonly backend: string;
}

/** New tensors made of those that are there, all kept or, where one cannot be made, none. */
function mapTensors(tensors: StateTensors, make: (x: Tensor) => Tensor): StateTensors {
  return tidy(() => keepAll(Object.fromEntries(Object.entries(tensors).map(([name, x]) => [name, make(x)]))));
}

/**
 * What an operator has seen so far: `attentionCache` makes one. For softmax, local linear and Parallax attention these
 * are the keys and values of `length` tokens, for linear and mesa attention sums over them, of constant size. Its tensors
 * are its own, stay when a surrounding `tf.tidy` ends, and are freed by `dispose`.
 */
export class AttentionCache {
  private held: Held | undefined;
  private count = 0;
  /** Position of the next token. */
  private total = 0;
  private disposed = false;

  /** @hidden Use `attentionCache`. */
  constructor(
    private readonly operator: CachedOperator,
    private readonly settings: CacheSettings,
  ) {}

  /** Tokens that the cache holds; with a window, at most that many. */
  get length(): number {
    return this.count;
  }

  /** Tokens that there is room for before the cache has to grow; infinite for linear and mesa attention. */
  get capacity(): number {
    if (this.operator.kind.isConstantSize) return Infinity;
    return this.held?.capacity ?? this.settings.capacity;
  }

  /** Bytes of the tensors that the cache keeps; 0 before its first step. */
  get byteSize(): number {
    return Object.values(this.held?.tensors ?? {}).reduce((bytes, { size }) => bytes + 4 * size, 0);
  }

  /** Whether `dispose` has been called. */
  get isDisposed(): boolean {
    return this.disposed;
  }

  /**
   * Appends `t >= 1` tokens and returns the operator's rows for them: row `i` sees what the cache holds and the new keys
   * up to its own. Differentiable in query, key, value, and in probe, ridge and bias where they are tensors; what the cache
   * holds is a constant.
   *
   * @param query `[..., t, D]`, rank 3 or 4; the leading dimensions, `D` and `Dv` of all steps are those of the first.
   * @param key `[..., t, D]`
   * @param value `[..., t, Dv]`
   * @param options `probe` (Parallax, required), `ridge`, `keyMask [B, t]`, `keyBias`: those of the new tokens.
   * @returns `[..., t, Dv]`, float32.
   * @throws Error that names the operator and the argument where one is unusable, where the cache was disposed or is full
   *   and may not grow; the cache is then as it was.
   */
  step(
    query: Tensor | TensorLike,
    key: Tensor | TensorLike,
    value: Tensor | TensorLike,
    options: CacheStepOptions = {},
  ): Tensor {
    this.requireUndisposed('step');
    return tidy(() => {
      const call = this.prepareStep(query, key, value, options);
      const t = call.dims.Tq;
      const before = this.held;
      const next = this.withRoom(call);
      const place = { length: this.count, total: this.total, window: this.settings.window };
      const { spec, kind } = this.operator;
      try {
        const { dims, inputs, attrs } = call;
        const { out, state } = runStep(kind, {
          spec,
          dims,
          inputs,
          attrs,
          shape: next.shape,
          place,
          state: next.tensors,
        });
        this.replace({ ...next, tensors: state }, next.tensors);
        this.total += t;
        this.count = Math.min(this.count + t, this.settings.window || Infinity);
        return out;
      } catch (error) {
        // Of what was made for this step nothing stays.
        const kept = Object.values(before?.tensors ?? {});
        dispose(Object.values(next.tensors).filter((x) => !kept.includes(x)));
        throw error;
      }
    });
  }

  /**
   * Forgets all but the first `length` tokens, for instance those that a speculative decoder has rejected. With a window:
   * of those that the cache still holds, counted from the oldest; tokens that the window has dropped do not come back.
   *
   * @throws Error for linear and mesa attention, whose sums cannot forget, and where `length` is no integer from 0 to the
   *   cache's length.
   */
  truncate(length: number): void {
    this.requireUndisposed('truncate');
    const { spec, kind } = this.operator;
    if (kind.isConstantSize) {
      reject(spec.operator, 'truncate', 'is not available: the sums that are kept cannot forget; keep a clone instead');
    }
    if (!Number.isInteger(length) || length < 0 || length > this.count) {
      reject(spec.operator, 'truncate', `takes a length from 0 to ${this.count}, got ${printed(length)}`);
    }
    this.total -= this.count - length;
    this.count = length;
  }

  /**
   * Entry `b` of the first dimension becomes what entry `indices[b]` was: the beams that a search goes on with.
   *
   * @param indices One integer for each entry of the first dimension; repeats are allowed.
   * @throws Error where there are more or fewer of them, where one is no integer or out of range, and before the first step.
   */
  reorder(indices: readonly number[] | Int32Array): void {
    this.requireUndisposed('reorder');
    const { operator } = this.operator.spec;
    const { held } = this;
    if (held === undefined) reject(operator, 'reorder', 'has nothing to act on: the cache has seen no token yet');
    const [batch] = held.shape.lead;
    checkIndices(operator, indices, batch);
    const perEntry = held.shape.heads / batch;
    const heads = Array.from(indices).flatMap((b) => Array.from({ length: perEntry }, (_, h) => b * perEntry + h));
    this.replace({ ...held, tensors: mapTensors(held.tensors, (x) => gathered(x, heads)) });
  }

  /** A cache that holds the same and from then on goes its own way. */
  clone(): AttentionCache {
    this.requireUndisposed('clone');
    const { ridge } = this.settings.constants;
    const own = typeof ridge === 'object' && { ridge: keep(ridge.clone()) };
    const copy = new AttentionCache(this.operator, {
      ...this.settings,
      constants: { ...this.settings.constants, ...own },
    });
    const { held } = this;
    if (held) {
      const all = Array.from({ length: held.shape.heads }, (_, head) => head);
      copy.held = { ...held, tensors: mapTensors(held.tensors, (x) => gathered(x, all)) };
    }
    copy.count = this.count;
    copy.total = this.total;
    return copy;
  }

  /** Frees the cache's tensors; no method works from then on, but for this one. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.count = 0;
    dispose(Object.values(this.held?.tensors ?? {}));
    this.held = undefined;
    const { ridge } = this.settings.constants;
    if (typeof ridge === 'object') ridge.dispose();
  }

  private requireUndisposed(method: string): void {
    if (this.disposed) reject(this.operator.spec.operator, method, 'was called on a cache that is disposed');
  }

  /** Checks a step before anything changes. */
  private prepareStep(
    query: Tensor | TensorLike,
    key: Tensor | TensorLike,
    value: Tensor | TensorLike,
    options: CacheStepOptions,
  ): PreparedCall {
    const { spec } = this.operator;
    checkStepOptions(this.operator, options);
    const { probe, ...rest } = options;
    const takesProbe = spec.differentiable.includes('probe');
    if (takesProbe && probe === undefined) reject(spec.operator, 'probe', 'is missing from the options');
    const constants = this.settings.constants;
    const given = { ...constants, ...rest, ridge: rest.ridge ?? constants.ridge, causal: true };
    if (given.ridge === undefined) delete given.ridge;
    const call = prepare(spec, { query, key, value, ...(takesProbe && { probe }) }, given);
    const { Tq, Tk } = call.dims;
    if (Tq !== Tk) {
      reject(
        spec.operator,
        'key',
        `must have as many tokens as query, ${Tq}, got shape ${printed(call.inputs.key.shape)}`,
      );
    }
    this.checkFits(call);
    return call;
  }

  /** Checks that new tokens are of the kind that the cache holds, and that there is or may be room for them. */
  private checkFits({ dims, inputs }: PreparedCall): void {
    const { operator } = this.operator.spec;
    const { held } = this;
    if (held) {
      const { lead, D, Dv } = held.shape;
      for (const [name, size] of [
        ['query', D],
        ['value', Dv],
      ] as const) {
        const expected = [...lead, dims.Tq, size];
        if (expected.join() !== inputs[name].shape.join()) {
          const shapes = `${printed(expected)} (what the cache holds), got ${printed(inputs[name].shape)}`;
          reject(operator, name, `must have shape ${shapes}`);
        }
      }
      if (held.backend !== currentBackend()) {
        const where = `on backend '${held.backend}', where the cache's tensors are`;
        reject(operator, 'step', `must run ${where}; the current backend is '${currentBackend()}'`);
      }
    }
    const { grow, window } = this.settings;
    if (!grow && window === 0 && this.count + dims.Tq > this.capacity) {
      const lacking = `has no room for ${dims.Tq} tokens more: the cache holds ${this.count}`;
      reject(operator, 'capacity', `${this.capacity} ${lacking}, and grow is false`);
    }
  }

  /** The cache's tensors with room for a step, each of them its own and kept; none of the cache's is changed. */
  private withRoom({ dims, inputs }: PreparedCall): Held {
    const { kind } = this.operator;
    const { heads, D, Dv, Tq } = dims;
    const lead = inputs.query.shape.slice(0, -2);
    const shape: CacheShape = this.held?.shape ?? { lead, heads, D, Dv };
    let capacity = this.held?.capacity ?? this.settings.capacity;
    if (!kind.isConstantSize && this.settings.window === 0) {
      while (capacity < this.count + Tq) capacity *= 2;
    }
    const missing = capacity - (this.held?.capacity ?? capacity);
    let tensors: StateTensors;
    if (this.held === undefined) tensors = keepAll(kind.create(shape, capacity));
    else if (missing === 0) tensors = this.held.tensors;
    else tensors = mapTensors(this.held.tensors, (x) => enlarged(x, missing));
    const completed = keepAll(kind.complete(tensors, inputs, shape, capacity));
    return { tensors: { ...tensors, ...completed }, shape, capacity, backend: currentBackend() };
  }

  /** Puts tensors in place of those that the cache holds, and frees the latter and those that were made in between. */
  private replace(next: Held, between: StateTensors = {}): void {
    const stay = Object.values(next.tensors);
    const old = new Set([...Object.values(this.held?.tensors ?? {}), ...Object.values(between)]);
    dispose([...old].filter((x) => !stay.includes(x)));
    this.held = next;
  }
}
