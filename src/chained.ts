/**
 * `q.softmaxAttention(k, v)` and its siblings: importing this module adds the operators to `tf.Tensor`.
 *
 * @packageDocumentation
 */
import { Tensor, type Rank, type TensorLike } from '@tensorflow/tfjs-core';
import {
  linearAttention,
  localLinearAttention,
  mesaAttention,
  parallaxAttention,
  softmaxAttention,
  type LinearAttentionOptions,
  type LocalLinearAttentionOptions,
  type MesaAttentionOptions,
  type ParallaxAttentionOptions,
  type SoftmaxAttentionOptions,
} from './index.js';

type Input = Tensor | TensorLike;

// The class is augmented where it is declared: an augmentation of the package, which only re-exports the class, makes a
// second class of it as soon as a program uses both.
declare module '@tensorflow/tfjs-core/dist/tensor.js' {
  interface Tensor<R extends Rank = Rank> {
    /** `localLinearAttention(this, key, value, options)` */
    localLinearAttention(key: Input, value: Input, options?: LocalLinearAttentionOptions): Tensor;
    /** `softmaxAttention(this, key, value, options)` */
    softmaxAttention(key: Input, value: Input, options?: SoftmaxAttentionOptions): Tensor;
    /** `linearAttention(this, key, value, options)` */
    linearAttention(key: Input, value: Input, options?: LinearAttentionOptions): Tensor;
    /** `parallaxAttention(this, key, value, probe, options)` */
    parallaxAttention(key: Input, value: Input, probe: Input, options?: ParallaxAttentionOptions): Tensor;
    /** `mesaAttention(this, key, value, options)` */
    mesaAttention(key: Input, value: Input, options?: MesaAttentionOptions): Tensor;
  }
}

Tensor.prototype.localLinearAttention = function (key, value, options) {
  return localLinearAttention(this, key, value, options);
};

Tensor.prototype.softmaxAttention = function (key, value, options) {
  return softmaxAttention(this, key, value, options);
};

Tensor.prototype.linearAttention = function (key, value, options) {
  return linearAttention(this, key, value, options);
};

Tensor.prototype.parallaxAttention = function (key, value, probe, options) {
  return parallaxAttention(this, key, value, probe, options);
};

Tensor.prototype.mesaAttention = function (key, value, options) {
  return mesaAttention(this, key, value, options);
};
