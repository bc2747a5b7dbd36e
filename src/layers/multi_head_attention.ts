import { type serialization, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { initializers, type Shape } from '@tensorflow/tfjs-layers';

import type { Precision } from '../../kernels/common/spec.js';
import { reject } from '../../kernels/common/validate.js';
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
import { combineMasks } from './masks.js';
import { Projection } from './projection.js';
import { Rotary } from './rotary.js';
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
export abstract class MultiHeadAttention<Args extends AttentionArgs> extends SequenceLayer {
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
  protected projectQuery(tokens: Tensor, first = 0): Tensor {
    return this.rotate(this.ready().query.toHeads(tokens), first);
  }

  /** Tokens `[B, T, features]`, the first of them at position `first`, to heads `[B, H, T, Dk]`. */
  protected projectKey(tokens: Tensor, first = 0): Tensor {
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

  protected rotate(heads: Tensor, first = 0): Tensor {
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
