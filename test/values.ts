/** A tensor as plain data: what the tests hand to references and operators alike. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

export type Operator =
  'localLinearAttention' | 'softmaxAttention' | 'linearAttention' | 'parallaxAttention' | 'mesaAttention';

/** Every tensor an operator can take: positional ones first. */
export type TensorName = 'query' | 'key' | 'value' | 'probe' | 'ridge' | 'keyBias' | 'keyMask';

export interface Tensors {
  readonly query: Values;
  readonly key: Values;
  readonly value: Values;
  readonly probe?: Values;
  readonly ridge?: Values;
  readonly keyBias?: Values;
  readonly keyMask?: Values;
}

/** Plain options, under the names of the public interface. */
export interface PlainOptions {
  readonly causal?: boolean;
  readonly scale?: number;
  readonly ridge?: number;
  readonly featureMap?: 'elu+1' | 'relu' | 'identity';
  readonly normalize?: boolean;
  readonly solver?: 'auto' | 'conjugateGradient' | 'direct';
  readonly tolerance?: number;
  readonly maxIterations?: number;
  readonly precision?: 'high' | 'fast';
}

/** One call of an operator. */
export interface Call {
  readonly operator: Operator;
  readonly tensors: Tensors;
  readonly options: PlainOptions;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** For every element of `to`, the flat index of the element of `from` that is broadcast to it. */
function broadcastIndex(from: readonly number[], to: readonly number[]): number[] {
  const missing = to.length - from.length;
  const aligned = to.map((_, axis) => (axis < missing ? 1 : from[axis - missing]));
  if (missing < 0 || aligned.some((n, axis) => n !== 1 && n !== to[axis])) {
    throw new Error(`[${from.join()}] does not broadcast to [${to.join()}]`);
  }
  return Array.from({ length: sizeOf(to) }, (_, flat) => {
    let rest = flat;
    let index = 0;
    let stride = 1;
    for (let axis = to.length - 1; axis >= 0; axis--) {
      if (aligned[axis] !== 1) index += (rest % to[axis]) * stride;
      rest = Math.floor(rest / to[axis]);
      stride *= aligned[axis];
    }
    return index;
  });
}

/** `values` broadcast to `shape`, flat. */
export function broadcast(values: Values, shape: readonly number[]): Float64Array {
  return Float64Array.from(broadcastIndex(values.shape, shape), (index) => values.data[index]);
}

/** The transpose of `broadcast`: sums `gradient`, of shape `from`, down to shape `to`. */
export function sumTo(gradient: ArrayLike<number>, from: readonly number[], to: readonly number[]): Float64Array {
  const sum = new Float64Array(sizeOf(to));
  broadcastIndex(to, from).forEach((index, flat) => {
    sum[index] += gradient[flat];
  });
  return sum;
}

/** `|a - b| / |b|` in the Euclidean norm; `|a|` where `b` is zero. */
export function relativeL2(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return Math.sqrt(difference) / (norm === 0 ? 1 : Math.sqrt(norm));
}

/** `max |a - b| / max |b|`; `max |a|` where `b` is zero. NaN if one difference is. */
export function relativeMax(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference = Math.max(difference, Math.abs(a[i] - b[i]));
    norm = Math.max(norm, Math.abs(b[i]));
  }
  return difference / (norm === 0 ? 1 : norm);
}
