/** The weights of a model, a layer or anything else that has some. */
import type { DataType, Tensor, Variable } from '@tensorflow/tfjs-core';
import { reject } from '../../kernels/common/validate.js';

/** A weight of tfjs-layers (`LayerVariable`), by the part of it that is used here. */
export interface LayerWeight {
  readonly id: number;
  /** Made unique over all models by a suffix. */
  readonly name: string;
  /** As given by the layer: `dense_Dense1/kernel`. This is the name that counts. */
  readonly originalName: string;
  readonly shape: readonly (number | null)[];
  readonly dtype: DataType;
  read(): Tensor;
  write(value: Tensor): unknown;
}

/** A `tf.LayersModel`, a `tf.layers.Layer`, or an object with a list of `LayerVariable` or `tf.Variable`. */
export interface HasWeights {
  readonly weights: readonly (LayerWeight | Variable)[];
}

/** A weight, whatever holds it. */
export interface Weight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DataType;
  readonly read: () => Tensor;
  readonly write: (value: Tensor) => void;
}

/** The weights of a model in its own order; throws, naming `caller`, where it has none. */
export function weightsOf(caller: string, model: HasWeights): Weight[] {
  const weights: unknown = (model as HasWeights | null | undefined)?.weights;
  if (!Array.isArray(weights)) {
    reject(caller, 'model', 'must be a model, a layer or an object with a list `weights` of variables');
  }
  if (weights.length === 0) reject(caller, 'model', 'has no weights yet; a layer gets them when it is built or called');
  // A layer that is shared by two models inside this one is listed twice.
  const unique = new Map((weights as HasWeights['weights']).map((weight) => [weight.id, weight]));
  return [...unique.values()].map(weightOf);
}

function weightOf(variable: LayerWeight | Variable): Weight {
  // By its form: an application may hold a second copy of tfjs-core, with a class of its own.
  if ('assign' in variable) {
    return {
      name: variable.name,
      shape: variable.shape,
      dtype: variable.dtype,
      read: () => variable,
      write: (value) => variable.assign(value),
    };
  }
  const { shape } = variable.read();
  return {
    name: variable.originalName,
    shape,
    dtype: variable.dtype,
    read: () => variable.read(),
    write: (value) => void variable.write(value),
  };
}
