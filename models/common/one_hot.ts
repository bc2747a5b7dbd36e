import * as tf from '@tensorflow/tfjs-core';

/**
 * Float32 `[N, classes]` of int32 ids `[N]`. Not by `oneHot`'s own argument `dtype`: backend `wasm` writes the bits of
 * integers into it.
 */
export const oneHotRows = (ids: tf.Tensor1D, classes: number): tf.Tensor2D =>
  tf.cast(tf.oneHot(ids, classes) as tf.Tensor2D, 'float32');
