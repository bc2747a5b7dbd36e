import { type serialization, slice, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { initializers, type Shape } from '@tensorflow/tfjs-layers';

import type { Precision } from '../../kernels/common/spec.js';
import { reject } from '../../kernels/common/validate.js';
import type { AttentionCache } from '../caches/attention_cache.js';
import { type ArgumentChecks, type AttentionArgs, attentionArguments, checkArguments } from './arguments.js';
import { dropUnseen, padHidden } from './causal.js';
import {
  checkFeatures,
  type Features,
  featuresOf,
  nameInputs,
  type NamedInputs,
  shapedInputs,
  toFloat,
} from './inputs.js';
import {
  cacheSettings,
  checkSteppable,
  LayerCache,
  type LayerCacheOptions,
  type LayerStepOptions,
  type SteppedLayer,
} from './layer_cache.js';
import { combineMasks } from './masks.js';
import { Projection } from './projection.js';
import { Rotary } from './rotary.js';
import { checkRows, type WeightOptions } from './weight_rows.js';
import { type CallOptions, SequenceLayer } from './sequence_layer.js';
import { constrain, initializeKernel, type Initializer, type Regularizer, WeightSettings } from './weight_settings.js';

/** A call's tokens, split into heads. */
export interface Heads {
  /** `[B, H, Tq, Dk]` */
  readonly query: Tensor;
  /** `[B, H, Tv, Dk]` */
  readonly key: Tensor;
  /** `[B, H, Tv, Dv]` */
  readonly value: Tensor;
  /** The query's input `[B, Tq, dim]`, for what a layer projects besides. */
  readonly tokens: Tensor;
}

/** Options that every operator takes. */
export interface AttendOptions {
  readonly causal: boolean;
  readonly precision: Precision;
  /** Bool `[B, Tv]` */
  readonly keyMask?: Tensor;
}

/** What a cache of a layer's operator is told besides the operator's own options. */
export type CacheRoom = Omit<LayerCacheOptions, 'firstPosition'> & { readonly precision: Precision };

/** The projections that every attention layer has. */
interface Projections {
  readonly query: Projection;
  readonly key: Projection;
  readonly value: Projection;
  readonly output: Projection;
}

/**
 * What the attention layers have in common: Keras' `MultiHeadAttention` around an operator.
 *
 * Inputs are `[B, T, features]`; `apply(x)` is self-attention, `apply([query, value])` and `apply([query, value, key])`
 * cross-attention, each of several with a mask `[B, Tv]` of the values as a further, last input. The result is
 * `[B, Tq, ...outputShape]`.
 */
export abstract class MultiHeadAttention<Args extends AttentionArgs> extends SequenceLayer implements SteppedLayer {
  protected readonly args: Args;
  protected readonly weightSettings: WeightSettings;
  protected readonly rotary: Rotary | undefined;
  private features: Features | undefined;
  private projections: Projections | undefined;

  protected constructor(kind: string, args: Args, checks: ArgumentChecks) {
    const checked = checkArguments(kind, args, { ...attentionArguments, ...checks }, ['numHeads', 'keyDim']);
    super(kind, checked);
    this.args = checked;
    this.weightSettings = new WeightSettings(this.label, checked);
    this.rotary = Rotary.of(this.label, checked.rotary, checked.keyDim);
  }

  /** Runs the layer's operator. */
  protected abstract attend(heads: Heads, options: AttendOptions): Tensor;

  /** The operator's effective weights `[B, H, Tq, Tv]`; `first` is the position of the first query. */
  protected abstract weigh(heads: Omit<Heads, 'value'>, options: AttendOptions, first: number): Tensor;

  /** A cache of the layer's operator. */
  protected abstract operatorCache(room: CacheRoom): AttentionCache;

  /** What a step of the operator takes besides query, key and value; `tokens [B, t, dim]` are the new ones. */
  protected stepInputs?(tokens: Tensor, first: number | readonly number[]): { probe?: Tensor; ridge?: number | Tensor };

  /** Adds the weights that the operator needs besides. */
  protected buildOperator?(features: Features): void;

  override build(inputShape: Shape | Shape[]): void {
    const features = featuresOf(nameInputs(this.label, shapedInputs(inputShape)));
    const { numHeads, keyDim, valueDim = keyDim, outputShape = features.query } = this.args;
    const outputs = typeof outputShape === 'number' ? [outputShape] : outputShape;
    this.projections = {
      query: this.addProjection('query', [features.query], [numHeads, keyDim]),
      key: this.addProjection('key', [features.key], [numHeads, keyDim]),
      value: this.addProjection('value', [features.value], [numHeads, valueDim]),
      output: this.addProjection('attention_output', [numHeads, valueDim], outputs),
    };
    this.features = features;
    this.buildOperator?.(features);
    this.built = true;
  }

  /** A kernel `[...inputs, ...outputs]` and, where the layer uses biases, a bias `[...outputs]`. */
  protected addProjection(
    name: string,
    inputs: number[],
    outputs: number[],
    useBias = this.args.useBias ?? true,
  ): Projection {
    const settings = this.weightSettings.resolved;
    const add = (part: string, shape: number[], initializer: Initializer, regularizer?: Regularizer) =>
      this.addWeight(`${name}/${part}`, shape, 'float32', initializer, regularizer);
    const kernel = add('kernel', [...inputs, ...outputs], initializers.zeros(), settings.kernelRegularizer);
    const size = (axes: number[]) => axes.reduce((product, n) => product * n, 1);
    if (!this.fastInit) initializeKernel(kernel, settings.kernelInitializer, [size(inputs), size(outputs)]);
    constrain(kernel, settings.kernelConstraint);
    if (!useBias) return new Projection(kernel);
    const bias = add('bias', outputs, settings.biasInitializer, settings.biasRegularizer);
    constrain(bias, settings.biasConstraint);
    return new Projection(kernel, bias);
  }

  protected override named(inputs: Tensor | Tensor[]): NamedInputs<Tensor> {
    const named = nameInputs(this.label, inputs);
    if (this.features) checkFeatures(this.label, named, this.features);
    return named;
  }

  override call(inputs: Tensor | Tensor[], options?: CallOptions | null): Tensor {
    const kwargs = options ?? {};
    return tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const named = this.named(inputs);
      const mask = combineMasks(this.label, this.masks(inputs, kwargs).value);
      return this.attendTokens(this.toFloats(named), mask, kwargs.training === true);
    });
  }

  /**
   * An empty cache for `step`, of `batchSize` sequences that go on together.
   *
   * ```js
   * const cache = layer.createCache(1);
   * const prompt = layer.step(x, cache); // [1, T, dim], as layer.apply(x)
   * const next = layer.step(token, cache); // [1, 1, dim], as the last row of layer.apply on all T + 1
   * cache.dispose();
   * ```
   *
   * @param batchSize Number of sequences.
   * @param options `capacity`, `grow` (true), `window` (none; linear and mesa attention refuse it), `firstPosition` (0).
   * @throws Error where the layer is not built or not causal (`useCausalMask`), or an argument is unusable.
   */
  createCache(batchSize: number, options: LayerCacheOptions = {}): LayerCache {
    const { useCausalMask, precision = 'high' } = this.args;
    checkSteppable(this.label, this.built, useCausalMask);
    const [settings, room] = cacheSettings(this, this.label, batchSize, options);
    return new LayerCache(settings, this.operatorCache({ ...room, precision }));
  }

  /**
   * Self-attention of new tokens on those in the cache and on themselves, causal; appends them to the cache. All steps
   * together give what `apply` gives for the whole sequence. Nothing is dropped, as in inference.
   *
   * @param x `[B, t, dim]`, the tokens after those in the cache.
   * @param cache One that `createCache` of this layer made.
   * @param options `mask [B, t]` hides new tokens, from later steps, too. Default: the mask that an earlier layer left on `x`.
   * @returns `[B, t, ...outputShape]`, differentiable in `x`; what stands in the cache is constant.
   * @throws Error that names what does not fit; the cache is then as it was.
   */
  step(x: Tensor, cache: LayerCache, options: LayerStepOptions = {}): Tensor {
    checkSteppable(this.label, this.built, this.args.useCausalMask);
    LayerCache.check(this, this.label, x, cache, options);
    const out = tidy(() => {
      this.named(x);
      const keyMask = combineMasks(this.label, this.masks(x, this.stepMask(options.mask)).value);
      const tokens = toFloat(this.label, 'x', x);
      return this.projectOutput(this.stepTokens(tokens, cache, keyMask));
    });
    this.handOn(x, this.stepMask(options.mask).mask, out);
    return out;
  }

  /**
   * The effective weights of the layer's self-attention on `x`, for plots and inspection: times the value heads they give
   * what the operator gives. Takes the memory that `apply` avoids; not differentiable. Masks are not looked at.
   *
   * ```js
   * const weights = layer.attentionWeights(x, { rows: 1 }); // [B, H, 1, T]: what the last token looks at
   * ```
   *
   * @param x `[B, T, dim]`
   * @param options `rows`: only those of so many last tokens. Default: all.
   * @returns `[B, H, rows, T]`, float32; negative weights are possible for all but softmax attention.
   * @throws Error where the layer is not built, `x` does not fit, or `rows` is no integer from 1 to `T`.
   */
  attentionWeights(x: Tensor, options: WeightOptions = {}): Tensor {
    return tidy(() => {
      const tokens = toFloat(this.label, 'x', this.named(x).query);
      const [B, T = 0, dim = 0] = tokens.shape;
      const rows = checkRows(this.label, options, T);
      const { useCausalMask: causal = false, precision = 'high' } = this.args;
      const last = slice(tokens, [0, T - rows, 0], [B, rows, dim]);
      const heads = { query: this.projectQuery(last, T - rows), key: this.projectKey(tokens), tokens: last };
      return this.weigh(heads, { causal, precision }, T - rows);
    });
  }

  private stepTokens(tokens: Tensor, cache: LayerCache, keyMask: Tensor | undefined): Tensor {
    const { inner, next } = cache;
    if (inner instanceof LayerCache) reject(this.label, 'cache', "must be this layer's own");
    const heads = [this.projectQuery(tokens, next), this.projectKey(tokens, next), this.projectValue(tokens)] as const;
    const attended = inner.step(...heads, { ...this.stepInputs?.(tokens, next), ...(keyMask && { keyMask }) });
    cache.advance(tokens.shape[1] ?? 0);
    return attended;
  }

  private attendTokens(given: NamedInputs<Tensor>, valueMask: Tensor | undefined, training: boolean): Tensor {
    const { useCausalMask: causal = false, precision = 'high' } = this.args;
    const [inputs, mask] = causal ? dropUnseen(given, valueMask) : [given, valueMask];
    const query = this.projectQuery(inputs.query);
    const projected = { key: this.projectKey(inputs.key), value: this.projectValue(inputs.value) };
    const visible = causal
      ? padHidden({ query, ...projected }, mask)
      : { ...projected, ...(mask && { keyMask: mask }) };
    const { keyMask, ...keyAndValue } = visible;
    const options = { causal, precision, ...(keyMask && { keyMask }) };
    const attended = this.attend({ query, ...keyAndValue, tokens: inputs.query }, options);
    const { dropout = 0, seed } = this.args;
    return this.projectOutput(training ? this.drop(attended, dropout, seed) : attended);
  }

  /** Tokens `[B, T, features]`, the first of them at position `first`, to heads `[B, H, T, Dk]`. */
  protected projectQuery(tokens: Tensor, first: number | readonly number[] = 0): Tensor {
    return this.rotate(this.ready().query.toHeads(tokens), first);
  }

  /** Tokens `[B, T, features]`, the first of them at position `first`, to heads `[B, H, T, Dk]`. */
  protected projectKey(tokens: Tensor, first: number | readonly number[] = 0): Tensor {
    return this.rotate(this.ready().key.toHeads(tokens), first);
  }

  /** Tokens `[B, T, features]` to heads `[B, H, T, Dv]`. */
  protected projectValue(tokens: Tensor): Tensor {
    return this.ready().value.toHeads(tokens);
  }

  /** Heads `[B, H, T, Dv]` to tokens `[B, T, ...outputShape]`. */
  protected projectOutput(heads: Tensor): Tensor {
    return this.ready().output.fromHeads(heads);
  }

  protected rotate(heads: Tensor, first: number | readonly number[] = 0): Tensor {
    return this.rotary?.apply(heads, first) ?? heads;
  }

  private ready(): Projections {
    return this.projections ?? reject(this.label, 'inputs', 'reached a layer that has not been built');
  }

  private toFloats(inputs: NamedInputs<Tensor>): NamedInputs<Tensor> {
    const query = toFloat(this.label, 'query', inputs.query);
    const value = inputs.value === inputs.query ? query : toFloat(this.label, 'value', inputs.value);
    const key = inputs.key === inputs.value ? value : toFloat(this.label, 'key', inputs.key);
    return { ...inputs, query, value, key };
  }

  override computeOutputShape(inputShape: Shape | Shape[]): Shape {
    const inputs = nameInputs(this.label, shapedInputs(inputShape));
    if (this.features) checkFeatures(this.label, inputs, this.features);
    const [B, T, features] = inputs.query.shape;
    const { outputShape = [features] } = this.args;
    return [B, T, ...(typeof outputShape === 'number' ? [outputShape] : outputShape)];
  }

  override getConfig(): serialization.ConfigDict {
    const { numHeads, keyDim, valueDim, dropout, seed, useBias, outputShape, useCausalMask, precision } = this.args;
    return {
      ...super.getConfig(),
      numHeads,
      keyDim,
      valueDim: valueDim ?? keyDim,
      dropout: dropout ?? 0,
      seed: seed ?? null,
      useBias: useBias ?? true,
      outputShape: outputShape ?? null,
      useCausalMask: useCausalMask ?? false,
      rotary: this.rotary?.config ?? false,
      precision: precision ?? 'high',
      ...this.weightSettings.config,
    };
  }
}
