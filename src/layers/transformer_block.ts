import { add, reshape, type serialization, type Tensor, tidy } from '@tensorflow/tfjs-core';
import { input as symbolicInput, layers as tfLayers, type Shape, type SymbolicTensor } from '@tensorflow/tfjs-layers';

import { isOneOf, isPositiveNumber, reject } from '../../kernels/common/validate.js';
import { type ArgumentChecks, attentionArguments, checkArguments, layerLabel, ridgeArguments } from './arguments.js';
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
import { LayerNormalization } from './layer_normalization.js';
import { LinearAttention, type LinearAttentionArgs, linearArguments } from './linear_attention.js';
import { LocalLinearAttention, type LocalLinearAttentionArgs, localLinearArguments } from './local_linear_attention.js';
import { combineMasks } from './masks.js';
import { MesaAttention, type MesaAttentionArgs } from './mesa_attention.js';
import { ParallaxAttention, type ParallaxAttentionArgs } from './parallax_attention.js';
import { Rotary } from './rotary.js';
import { type CallOptions, SequenceLayer } from './sequence_layer.js';
import { SoftmaxAttention, type SoftmaxAttentionArgs } from './softmax_attention.js';
import type { WeighedLayer, WeightOptions } from './weight_rows.js';
import { constrain, WeightSettings } from './weight_settings.js';

/** The arguments of the attention layer of each kind. */
export interface KindArgs {
  localLinear: LocalLinearAttentionArgs;
  softmax: SoftmaxAttentionArgs;
  linear: LinearAttentionArgs;
  parallax: ParallaxAttentionArgs;
  mesa: MesaAttentionArgs;
}

/** Arguments of a block that are none of its attention layer's. */
export interface BlockArgs<Kind extends keyof KindArgs> {
  /** The kind of attention. */
  attention: Kind;
  /** Width of the block's middle layer, in multiples of the number of features. Default 4. */
  mlpRatio?: number;
  /** Added to the variance that a layer normalization divides by. Default 1e-3, as in Keras. */
  epsilon?: number;
}

/** Arguments of `layers.transformerBlock`: its own, and those of its attention layer. */
export type TransformerBlockArgs = {
  [Kind in keyof KindArgs]: BlockArgs<Kind> & Omit<KindArgs[Kind], 'outputShape'>;
}[keyof KindArgs];

type AnyKindArgs = KindArgs[keyof KindArgs];

type AttentionLayer = tfLayers.Layer & SteppedLayer & WeighedLayer;

/** How the attention layer of a kind is made, and what it takes besides what all take. */
const KINDS: Readonly<Record<string, { make: (args: AnyKindArgs) => AttentionLayer; checks: ArgumentChecks }>> = {
  localLinear: { make: (args) => new LocalLinearAttention(args), checks: localLinearArguments },
  softmax: { make: (args) => new SoftmaxAttention(args), checks: {} },
  linear: { make: (args) => new LinearAttention(args), checks: linearArguments },
  parallax: { make: (args) => new ParallaxAttention(args), checks: {} },
  mesa: { make: (args) => new MesaAttention(args), checks: ridgeArguments },
};

/** What tfjs's base class takes: the block's, and not its attention layer's. */
const OWN = [
  'attention',
  'mlpRatio',
  'epsilon',
  'name',
  'trainable',
  'inputShape',
  'batchInputShape',
  'batchSize',
  'dtype',
  'inputDType',
  'weights',
];

const without = (record: object, names: readonly string[]) =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !names.includes(name)));

/** Checks the arguments of a block and returns those that were given. */
function checkBlock(args: TransformerBlockArgs | undefined): TransformerBlockArgs {
  const given = (args ?? {}) as Partial<TransformerBlockArgs>;
  const isKind = isOneOf(...Object.keys(KINDS));
  isKind(layerLabel('transformerBlock', given.name), 'attention', given.attention);
  const checks: ArgumentChecks = {
    attention: isKind,
    mlpRatio: isPositiveNumber,
    epsilon: isPositiveNumber,
    // The residual connection asks for as many features as come in.
    ...without(attentionArguments, ['outputShape']),
    ...KINDS[given.attention ?? ''].checks,
  };
  return checkArguments('transformerBlock', given, checks, ['numHeads', 'keyDim']) as TransformerBlockArgs;
}

/** A pre-norm residual block; `layers.transformerBlock` makes one. */
export class TransformerBlock extends SequenceLayer implements SteppedLayer {
  static readonly className: string = 'TransformerBlockLayer';

  private readonly args: TransformerBlockArgs;
  private readonly weightSettings: WeightSettings;
  private readonly attention: AttentionLayer;
  private readonly norms: readonly [tfLayers.Layer, tfLayers.Layer];
  /** Those two of the mlp; the number of their units is known when the block is built. */
  private mlp: readonly tfLayers.Layer[] = [];
  private features: Features | undefined;

  constructor(args: TransformerBlockArgs) {
    const checked = checkBlock(args);
    super('transformerBlock', checked);
    this.args = checked;
    // Before the attention layer is made, so that errors name this one.
    this.weightSettings = new WeightSettings(this.label, checked);
    Rotary.of(this.label, checked.rotary, checked.keyDim);
    this.attention = KINDS[checked.attention].make({ ...without(checked, OWN), name: 'attention' } as AnyKindArgs);
    const { epsilon = 1e-3 } = checked;
    const norm = (name: string) => new LayerNormalization({ name, epsilon });
    this.norms = [norm('attention_norm'), norm('mlp_norm')];
  }

  override build(inputShape: Shape | Shape[]): void {
    this.features = featuresOf(this.nameSelf(shapedInputs(inputShape)));
    const features = this.features.query;
    const { mlpRatio = 4, useBias = true, kernelInitializer = 'glorotUniform' } = this.args;
    const width = features * mlpRatio;
    if (!Number.isInteger(width)) {
      reject(this.label, 'mlpRatio', `times the number of features must be an integer: ${mlpRatio} * ${features}`);
    }
    const { biasInitializer, kernelRegularizer, biasRegularizer } = this.args;
    const dense = { useBias, kernelInitializer, biasInitializer, kernelRegularizer, biasRegularizer };
    this.mlp = [
      tfLayers.dense({ name: 'mlp_hidden', units: width, activation: 'gelu', ...dense }),
      tfLayers.dense({ name: 'mlp_output', units: features, ...dense }),
    ];
    // A symbolic call builds a layer under its own name, which `build` alone would not.
    let x: SymbolicTensor = symbolicInput({ batchShape: [null, null, features], name: `${this.name}_input` });
    for (const layer of this.sublayers()) {
      layer.setFastWeightInitDuringBuild(this.fastInit);
      x = layer.apply(x) as SymbolicTensor;
      this.addLoss(layer.losses);
    }
    const { kernelConstraint, biasConstraint } = this.weightSettings.resolved;
    for (const {
      weights: [kernel, bias],
    } of this.mlp) {
      constrain(kernel, kernelConstraint);
      if (useBias) constrain(bias, biasConstraint);
    }
    // tfjs tracks what a layer has added itself: these weights are the block's from now on.
    this.trainableWeights = this.sublayers().flatMap((layer) => layer.weights);
    this.built = true;
  }

  /** In the order in which they run, which is that of the weights. */
  private sublayers(): tfLayers.Layer[] {
    const [attentionNorm, mlpNorm] = this.norms;
    return [attentionNorm, this.attention, mlpNorm, ...this.mlp];
  }

  protected override named(inputs: Tensor | Tensor[]): NamedInputs<Tensor> {
    return this.nameSelf(inputs);
  }

  private nameSelf<X extends { readonly shape: Shape }>(inputs: X | X[]): NamedInputs<X> {
    const named = nameInputs(this.label, this.selfInputs(inputs));
    if (this.features) checkFeatures(this.label, named, this.features);
    return named;
  }

  /** `x`, or `x` and a mask, as the inputs of its self-attention. */
  private selfInputs<X extends { readonly shape: Shape }>(inputs: X | X[]): X[] {
    const list = Array.isArray(inputs) ? inputs : [inputs];
    if (list.length > 2) {
      reject(this.label, 'inputs', `must be one tensor, or one and a mask of it: apply([x, mask]); got ${list.length}`);
    }
    const [x, mask] = list;
    if (list.length === 2 && mask.shape.length !== 2) {
      reject(this.label, 'mask', `must have rank 2 [B, T], got shape [${mask.shape.join(', ')}]`);
    }
    return list.length === 2 ? [x, x, mask] : list;
  }

  override call(inputs: Tensor | Tensor[], given?: CallOptions | null): Tensor {
    const kwargs = given ?? {};
    return tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const named = this.named(inputs);
      const mask = combineMasks(this.label, this.masks(inputs, kwargs).value);
      const training = kwargs.training === true;
      const options = { training, ...(mask && { mask: [mask] }) };
      const x = toFloat(this.label, 'x', named.query);
      return this.residuals(x, (normed) => this.attention.call(normed, options) as Tensor, training);
    });
  }

  private residuals(x: Tensor, attend: (normed: Tensor) => Tensor, training: boolean): Tensor {
    const run = (tokens: Tensor, layer: tfLayers.Layer) => layer.call(tokens, {}) as Tensor;
    const [attentionNorm, mlpNorm] = this.norms;
    const attended = add(x, attend(run(x, attentionNorm)));
    // As a matrix: tfjs' dense layer copies its kernel, transposed by the identity, for an input of rank 3.
    const rows = reshape(attended, [-1, attended.shape[attended.rank - 1]]);
    const mixed = reshape([mlpNorm, ...this.mlp].reduce(run, rows), attended.shape);
    const { dropout = 0, seed } = this.args;
    return add(attended, training ? this.drop(mixed, dropout, seed) : mixed);
  }

  /**
   * An empty cache for `step`, of `batchSize` sequences that go on together: that of the block's attention layer.
   *
   * @param batchSize Number of sequences.
   * @param options `capacity`, `grow` (true), `window` (none; linear and mesa attention refuse it), `firstPosition` (0).
   * @throws Error where the block is not built or not causal (`useCausalMask`), or an argument is unusable.
   */
  createCache(batchSize: number, options: LayerCacheOptions = {}): LayerCache {
    checkSteppable(this.label, this.built, this.args.useCausalMask);
    const [settings] = cacheSettings(this, this.label, batchSize, options);
    return new LayerCache(settings, this.attention.createCache(batchSize, options));
  }

  /**
   * The block's output for new tokens, whose attention sees those in the cache, too; appends them to the cache.
   *
   * ```js
   * const cache = block.createCache(1);
   * const out = block.step(x, cache); // as block.apply(x); x: [1, T, dim]
   * const next = block.step(token, cache); // [1, 1, dim]
   * ```
   *
   * @param x `[B, t, dim]`, the tokens after those in the cache.
   * @param cache One that `createCache` of this block made.
   * @param options `mask [B, t]` hides new tokens, from later steps, too. Default: the mask that an earlier layer left on `x`.
   * @returns `[B, t, dim]`, differentiable in `x`; what stands in the cache is constant.
   * @throws Error that names what does not fit; the cache is then as it was.
   */
  step(x: Tensor, cache: LayerCache, options: LayerStepOptions = {}): Tensor {
    checkSteppable(this.label, this.built, this.args.useCausalMask);
    LayerCache.check(this, this.label, x, cache, options);
    const out = tidy(() => {
      this.named(x);
      const { inner } = cache;
      if (!(inner instanceof LayerCache)) reject(this.label, 'cache', "must be this block's own");
      const mask = combineMasks(this.label, this.masks(x, this.stepMask(options.mask)).value);
      const tokens = toFloat(this.label, 'x', x);
      return this.residuals(tokens, (normed) => this.attention.step(normed, inner, mask && { mask }), false);
    });
    cache.advance(x.shape[1] ?? 0);
    this.handOn(x, this.stepMask(options.mask).mask, out);
    return out;
  }

  /**
   * The effective weights of the block's attention layer on `x`, as that layer's `attentionWeights`.
   *
   * @param x `[B, T, dim]`, what comes into the block.
   * @param options `rows`: only those of so many last tokens. Default: all.
   * @returns `[B, H, rows, T]`, float32.
   */
  attentionWeights(x: Tensor, options: WeightOptions = {}): Tensor {
    return tidy(() => {
      const tokens = toFloat(this.label, 'x', this.named(x).query);
      return this.attention.attentionWeights(this.norms[0].call(tokens, {}) as Tensor, options);
    });
  }

  override computeOutputShape(inputShape: Shape | Shape[]): Shape {
    return this.nameSelf(shapedInputs(inputShape)).query.shape;
  }

  override getConfig(): serialization.ConfigDict {
    const { attention, mlpRatio = 4, epsilon = 1e-3 } = this.args;
    const inner = without(this.attention.getConfig(), [...OWN, 'outputShape']);
    return { ...super.getConfig(), ...inner, attention, mlpRatio, epsilon };
  }
}
