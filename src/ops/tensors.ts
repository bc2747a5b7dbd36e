import { cast, customGrad, Tensor, tensor, type TensorLike } from '@tensorflow/tfjs-core';

import { toFloat32 } from '../../kernels/common/to_float32.js';
import { printed, reject } from '../../kernels/common/validate.js';

/**
 * Turns an argument into a tensor of `dtype`. Numeric dtypes are cast as tfjs casts them; for a mask, `float32` is
 * refused, since an additive mask of the kind other libraries take would be silently misread.
 */
export function toTensor(
  operator: string,
  argument: string,
  x: Tensor | TensorLike,
  dtype: 'float32' | 'bool' = 'float32',
): Tensor {
  if (!(x instanceof Tensor)) {
    checkNested(operator, argument, x);
    return tensor(x, undefined, dtype);
  }
  if (x.isDisposed) reject(operator, argument, `is a disposed tensor, shape [${x.shape.join(', ')}]`);
  const accepted = dtype === 'bool' ? ['bool', 'int32'] : ['float32', 'int32', 'bool'];
  if (!accepted.includes(x.dtype)) {
    const hint = dtype === 'bool' && x.dtype === 'float32' ? " (a mask of zeros and ones: cast it to 'bool')" : '';
    reject(operator, argument, `must have dtype ${accepted.join(', ')}, got ${x.dtype}${hint}`);
  }
  if (x.dtype === dtype) return x;
  return dtype === 'bool' ? cast(x, dtype) : convert(x);
}

/**
 * One step of the tape, which keeps nothing: tfjs never frees what its own operators have kept for their gradients where
 * the function under `tf.grad` throws.
 */
const convert = /* @__PURE__ */ customGrad((x) => ({ value: toFloat32(x as Tensor), gradFunc: (dy: Tensor) => dy }));

/** Refuses what `tf.tensor` would take without a word: ragged arrays, strings, things that are no array at all. */
function checkNested(operator: string, argument: string, x: unknown): void {
  if (x === undefined || x === null) reject(operator, argument, `must be a tensor or an array, got ${printed(x)}`);
  let level: unknown[] = [x];
  while (level.every((part) => Array.isArray(part))) {
    const parts = level;
    const { length } = parts[0];
    if (parts.some((part) => part.length !== length)) {
      reject(operator, argument, `is a ragged array: ${printed(x)}`);
    }
    level = parts.flat(1);
    if (level.length === 0) return;
  }
  const arrays = level.filter(isNumericArray);
  if (arrays.length === level.length && arrays.every(({ length }) => length === arrays[0].length)) return;
  if (level.every((part) => typeof part === 'number' || typeof part === 'boolean')) return;
  const odd = level.find((part) => typeof part !== 'number' && typeof part !== 'boolean');
  reject(operator, argument, `must hold numbers, got ${printed(odd)} (dtype ${typeof odd}) in it`);
}

function isNumericArray(x: unknown): x is Float32Array | Int32Array | Uint8Array | Uint8ClampedArray {
  return (
    x instanceof Float32Array || x instanceof Int32Array || x instanceof Uint8Array || x instanceof Uint8ClampedArray
  );
}
