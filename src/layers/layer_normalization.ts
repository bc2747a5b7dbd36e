import {
  add,
  customGrad,
  engine,
  type GradSaveFunc,
  mean,
  mul,
  rsqrt,
  type serialization,
  square,
  sub,
  sum,
  type Tensor,
  tidy,
} from '@tensorflow/tfjs-core';
import { initializers, layers as tfLayers, type LayerVariable, type Shape } from '@tensorflow/tfjs-layers';

import { isPositiveNumber, printed, reject } from '../../kernels/common/validate.js';
import { hasKernelFor } from '../registry.js';
import { type ArgumentChecks, checkArguments, type LayerArgs, layerArguments, layerLabel } from './arguments.js';

/** Arguments of `layers.layerNormalization`. */
export interface LayerNormalizationArgs extends LayerArgs {
  /** Added to the variance. Default 1e-3, as in Keras. */
  epsilon?: number;
}

const checks: ArgumentChecks = { ...layerArguments, epsilon: isPositiveNumber };

/** The kernel of a backend that has one, `x, gamma, beta` to `y`; its gradient's name ends in `Grad`. */
const KERNEL = 'TokenLayerNormalization';

/** `normalize` by the backend's own kernels. */
function normalizeByKernel(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: number): Tensor {
  const attrs = { epsilon };
  const forward = (...given: (Tensor | GradSaveFunc)[]) => {
    const [x, gamma, beta, save] = given as [Tensor, Tensor, Tensor, GradSaveFunc];
    save([x, gamma]);
    const gradFunc = (dy: Tensor, [x, gamma]: Tensor[]) =>
      engine().runKernel<Tensor[]>(`${KERNEL}Grad`, { x, gamma, dy }, attrs);
    return { value: engine().runKernel<Tensor>(KERNEL, { x, gamma, beta }, attrs), gradFunc };
  };
  return customGrad(forward)(x, gamma, beta);
}

/**
 * `gamma (x - mean) / sqrt(variance + epsilon) + beta` over the last axis of `x`; `gamma` and `beta` are `[features]`.
 *
 * The gradient is the closed form. tfjs' own layer tiles mean, variance, gamma and beta to the shape of `x`, and its
 * gradient of a tile slices and adds copy by copy: two kernels for each token and each feature.
 */
function normalize(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: number): Tensor {
  if (hasKernelFor(KERNEL, x)) return normalizeByKernel(x, gamma, beta, epsilon);
  const forward = (...given: (Tensor | GradSaveFunc)[]) => {
    const [x, gamma, beta, save] = given as [Tensor, Tensor, Tensor, GradSaveFunc];
    const centred = sub(x, mean(x, -1, true));
    const scale = rsqrt(add(mean(square(centred), -1, true), epsilon));
    const normal = mul(centred, scale);
    save([normal, scale, gamma]);
    const gradFunc = (dy: Tensor, saved: Tensor[]): Tensor[] => {
      const [normal, scale, gamma] = saved;
      const rows = dy.shape.slice(0, -1).map((_, axis) => axis);
      const byFeature = mul(dy, gamma);
      const along = mul(normal, mean(mul(byFeature, normal), -1, true));
      const dx = mul(scale, sub(sub(byFeature, mean(byFeature, -1, true)), along));
      return [dx, sum(mul(dy, normal), rows), sum(dy, rows)];
    };
    return { value: add(mul(normal, gamma), beta), gradFunc };
  };
  return customGrad(forward)(x, gamma, beta);
}

/** Layer normalization over features; `layers.layerNormalization` makes one. */
export class LayerNormalization extends tfLayers.Layer {
  // tfjs' own layer has the plain name.
  static readonly className: string = 'TokenLayerNormalization';

  /** For `generate`. */
  readonly tokenwise = true;
  private readonly label: string;
  private readonly epsilon: number;
  private gamma: LayerVariable | undefined;
  private beta: LayerVariable | undefined;

  constructor(args: LayerNormalizationArgs = {}) {
    const checked = checkArguments('layerNormalization', args, checks, []);
    super(checked);
    this.label = layerLabel('layerNormalization', this.name);
    this.epsilon = checked.epsilon ?? 1e-3;
    this.supportsMasking = true;
  }

  override build(inputShape: Shape | Shape[]): void {
    const shape = (Array.isArray(inputShape[0]) ? inputShape[0] : inputShape) as Shape;
    const features = shape.at(-1);
    if (typeof features !== 'number') {
      reject(this.label, 'inputs', `must have a known number of features, got shape [${printed(shape)}]`);
    }
    this.gamma = this.addWeight('gamma', [features], 'float32', initializers.ones());
    this.beta = this.addWeight('beta', [features], 'float32', initializers.zeros());
    this.built = true;
  }

  override call(inputs: Tensor | Tensor[], kwargs: Record<string, unknown>): Tensor {
    const { gamma, beta } = this;
    if (!gamma || !beta) reject(this.label, 'inputs', 'reached a layer that has not been built');
    return tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const x = Array.isArray(inputs) ? inputs[0] : inputs;
      return normalize(x, gamma.read(), beta.read(), this.epsilon);
    });
  }

  override computeOutputShape(inputShape: Shape | Shape[]): Shape | Shape[] {
    return inputShape;
  }

  override getConfig(): serialization.ConfigDict {
    return { ...super.getConfig(), epsilon: this.epsilon };
  }

  /** As tfjs's own; tfjs puts the custom objects of a load into the configuration of every layer. */
  static override fromConfig<T extends serialization.Serializable>(
    cls: serialization.SerializableConstructor<T>,
    config: serialization.ConfigDict,
  ): T {
    return new cls(Object.fromEntries(Object.entries(config).filter(([name]) => name !== 'customObjects')));
  }
}
