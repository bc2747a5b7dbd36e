/** Streams whose rule changes: segments, each with a linear map of its own from unit-norm inputs to outputs. */
import type { Random } from '../trainer/random.js';

export interface StreamSizes {
  /** Streams side by side. */
  readonly batch: number;
  /** Pairs in a stream. */
  readonly count: number;
  /** Pairs in a segment; the last one of a stream may be shorter. */
  readonly segment: number;
  /** Numbers of an input, and of an output. */
  readonly dim: number;
}

export interface StreamShape {
  /** Deviation of an input (its norm) around the direction of its region, which has norm 1, before it is normalised. */
  readonly spread: number;
  /** Whether all segments of a stream lie in one region, so that an input does not tell which map it belongs to. */
  readonly isShared: boolean;
}

export interface StreamData {
  /** `[batch, count, dim]`, of unit norm. */
  readonly inputs: Float32Array;
  /** `[batch, count, dim]`: the map of the segment times the input; entries of a map are standard normal. */
  readonly outputs: Float32Array;
}

/** A region is a cone: inputs are normalised sums of its direction and noise. */
export function segmentedStreams(random: Random, sizes: StreamSizes, { spread, isShared }: StreamShape): StreamData {
  const { batch, count, segment, dim } = sizes;
  const inputs = new Float32Array(batch * count * dim);
  const outputs = new Float32Array(batch * count * dim);
  for (let stream = 0; stream < batch; stream++) {
    let direction = random.normals(dim);
    for (let first = 0; first < count; first += segment) {
      if (!isShared) direction = random.normals(dim);
      normalize(direction);
      const map = random.normals(dim * dim);
      for (let row = first; row < Math.min(first + segment, count); row++) {
        const place = (stream * count + row) * dim;
        const input = inputs.subarray(place, place + dim);
        for (let i = 0; i < dim; i++) input[i] = direction[i] + (spread * random.normal()) / Math.sqrt(dim);
        normalize(input);
        multiply(map, input, outputs.subarray(place, place + dim));
      }
    }
  }
  return { inputs, outputs };
}

function normalize(vector: Float32Array): void {
  let square = 0;
  for (const value of vector) square += value * value;
  const norm = Math.sqrt(square);
  for (let i = 0; i < vector.length; i++) vector[i] /= norm;
}

/** `out = map vector`, rows of `map` one behind the other. */
function multiply(map: Float32Array, vector: Float32Array, out: Float32Array): void {
  const { length } = vector;
  for (let i = 0; i < length; i++) {
    let sum = 0;
    for (let j = 0; j < length; j++) sum += map[i * length + j] * vector[j];
    out[i] = sum;
  }
}
