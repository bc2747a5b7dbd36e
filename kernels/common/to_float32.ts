import { cast, mul, type Tensor } from '@tensorflow/tfjs-core';

/**
 * An `int32` or `bool` tensor as `float32` data. On `webgpu` a cast alone hands the integers on under another name, and
 * what reads a buffer as it is (tfjs's own `transpose` among others) takes their bits for floats or does not compile.
 */
export function toFloat32<T extends Tensor>(x: T): T {
  return mul(cast(x, 'float32'), 1);
}
