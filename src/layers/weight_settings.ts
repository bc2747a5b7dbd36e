import { engine, reshape, type serialization, tidy } from '@tensorflow/tfjs-core';
import {
  type constraints,
  type initializers,
  layers as tfLayers,
  type LayerVariable,
  type regularizers,
} from '@tensorflow/tfjs-layers';

import { reject } from '../../kernels/common/validate.js';
import type { WeightArgs } from './arguments.js';

export type Initializer = ReturnType<typeof initializers.ones>;
export type Regularizer = ReturnType<typeof regularizers.l2>;
export type Constraint = ReturnType<typeof constraints.maxNorm>;

/** What a dense layer of tfjs makes of its arguments; its declarations keep these fields to itself. */
interface ResolvedWeights {
  readonly kernelInitializer: Initializer;
  readonly biasInitializer: Initializer;
  readonly kernelRegularizer?: Regularizer;
  readonly biasRegularizer?: Regularizer;
  readonly kernelConstraint?: Constraint;
  readonly biasConstraint?: Constraint;
}

/** `kernelInitializer` and its siblings. */
const NAMES = [
  'kernelInitializer',
  'biasInitializer',
  'kernelRegularizer',
  'biasRegularizer',
  'kernelConstraint',
  'biasConstraint',
] as const;

/**
 * The initializers, regularizers and constraints of a layer's weights, given by name, by configuration or as objects.
 *
 * tfjs has no public function that looks them up, but a dense layer takes them in all of these forms and hands their
 * configurations out again.
 */
export class WeightSettings {
  readonly resolved: ResolvedWeights;
  /** The same, as it is saved. */
  readonly config: serialization.ConfigDict;

  constructor(label: string, args: WeightArgs) {
    const given = Object.fromEntries(NAMES.map((name) => [name, args[name]])) as WeightArgs;
    // Each on its own, so that an error names the argument.
    for (const name of NAMES) {
      try {
        dense({ [name]: given[name] });
      } catch (error) {
        reject(label, name, `is unusable: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    const layer = dense(given);
    const config = layer.getConfig();
    this.resolved = layer;
    this.config = Object.fromEntries(NAMES.map((name) => [name, config[name]]));
  }
}

/** A dense layer that is never built; Keras' default where tfjs has another one. */
function dense(args: WeightArgs): tfLayers.Layer & ResolvedWeights {
  const { kernelInitializer = 'glorotUniform', ...rest } = args;
  // The name spares tfjs's counter of dense layers, from which the names of a user's own ones come.
  const layer: tfLayers.Layer = tfLayers.dense({ name: 'settings', units: 1, kernelInitializer, ...rest });
  return layer as tfLayers.Layer & ResolvedWeights;
}

/**
 * Fills a kernel as the matrix from its inputs to its outputs that it is, whatever axes these have. Left to itself an
 * initializer would take the first axes for those of a convolution. Keras does the same.
 */
export function initializeKernel(kernel: LayerVariable, initializer: Initializer, matrix: [number, number]): void {
  tidy(() => {
    kernel.write(reshape(initializer.apply(matrix, 'float32'), kernel.read().shape));
  });
}

/**
 * Makes a constraint hold after every step of an optimizer.
 *
 * tfjs itself applies constraints when weights are set or loaded, and in training not at all (docs/decisions/0020).
 */
export function constrain(weight: LayerVariable, constraint: Constraint | null | undefined): void {
  if (!constraint) return;
  const variable = engine().registeredVariables[weight.name];
  const assign = variable.assign.bind(variable);
  variable.assign = (value) => tidy(() => assign(constraint.apply(value)));
  // Weights that are loaded are taken as they were saved: projecting again may change the last bits.
  weight.write = (value) => {
    // Throws where the weight is disposed.
    if (value.id !== weight.read().id) assign(value);
    return weight;
  };
}
