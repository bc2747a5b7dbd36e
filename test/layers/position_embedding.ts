/** A layer of a user's own that looks at positions: it offers a cache and a step, as the layers of this package do. */
import * as tf from '@tensorflow/tfjs-core';
import { initializers, layers as tfLayers, type LayerVariable, type Shape } from '@tensorflow/tfjs-layers';

/** Adds a vector to each token that is learned for its position. */
export class PositionEmbedding extends tfLayers.Layer {
  static readonly className = 'PositionEmbedding';
  private readonly size: number;
  private table: LayerVariable | undefined;

  constructor({ size }: { size: number }) {
    super({});
    this.size = size;
  }

  override build(inputShape: Shape): void {
    const features = inputShape[inputShape.length - 1];
    this.table = this.addWeight('table', [this.size, features], 'float32', initializers.randomNormal({ stddev: 1 }));
    this.built = true;
  }

  private placed(x: tf.Tensor, first: readonly number[]): tf.Tensor {
    const [B, T, features] = x.shape;
    // Padding has positions below 0; which vector it gets no other token sees.
    const positions = first.flatMap((start) => Array.from({ length: T }, (_, t) => Math.max(0, start + t)));
    const { table } = this;
    if (!table) throw new Error('not built');
    return tf.add(x, tf.reshape(tf.gather(table.read(), tf.tensor1d(positions, 'int32')), [B, T, features]));
  }

  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    const [x] = Array.isArray(inputs) ? inputs : [inputs];
    return tf.tidy(() => this.placed(x, Array<number>(x.shape[0]).fill(0)));
  }

  override computeOutputShape(inputShape: Shape): Shape {
    return inputShape;
  }

  createCache(_batchSize: number, { firstPosition }: { firstPosition: readonly number[] }) {
    return { next: [...firstPosition], dispose: () => undefined };
  }

  step(x: tf.Tensor, cache: { next: number[] }): tf.Tensor {
    const out = this.placed(x, cache.next);
    cache.next = cache.next.map((position) => position + (x.shape[1] ?? 0));
    return out;
  }
}
