/**
 * Layer normalization, a work group for a row or for a chunk of rows: `x [rows, F]`, `gamma [F]`, `beta [F]`, float32. Mean and variance are computed anew in the gradient: to read a row twice more takes less
 * than to keep and read two more tensors.
 */
import type { WebGPUProgram } from '@tensorflow/tfjs-backend-webgpu';

import { type ProgramParts, tfjsProgram, THREADS } from '../common/webgpu/tfjs_program.js';

/** Partial sums of a feature, at most: few enough for one thread to add them up, enough to fill a GPU. */
const MOST_CHUNKS = 256;
const FEWEST_ROWS = 32;

/** Rows whose sum over features is one partial sum. */
export const rowsOfChunk = (rows: number): number => Math.max(FEWEST_ROWS, Math.ceil(rows / MOST_CHUNKS));

const program = ({ key, ...rest }: ProgramParts): WebGPUProgram =>
  tfjsProgram({ key: `layerNormalization ${key}`, ...rest });

/**
 * `sum(value)` over the work group, and `momentsOf(row)`: mean and `1 / sqrt(variance + epsilon)`; beyond the last row, where
 * all threads have to come as well, that of the last one.
 */
const reductions = `
var<workgroup> partial: array<f32, ${THREADS}>;

fn sum(value: f32) -> f32 {
  // Whoever reads the last sum has to be done with it.
  workgroupBarrier();
  partial[localIndex] = value;
  for (var stride = ${THREADS / 2}u; stride > 0u; stride /= 2u) {
    workgroupBarrier();
    if (localIndex < stride) { partial[localIndex] += partial[localIndex + stride]; }
  }
  workgroupBarrier();
  return partial[0];
}

fn momentsOf(wanted: i32) -> vec2f {
  let features = uniforms.xShape.y;
  let row = min(wanted, uniforms.xShape.x - 1);
  var total = 0.0;
  for (var f = i32(localIndex); f < features; f += ${THREADS}) { total += x[row * features + f]; }
  let mean = sum(total) / f32(features);
  var squares = 0.0;
  for (var f = i32(localIndex); f < features; f += ${THREADS}) {
    let centred = x[row * features + f] - mean;
    squares += centred * centred;
  }
  return vec2f(mean, inverseSqrt(sum(squares) / f32(features) + uniforms.epsilon));
}
`;

/** `y [rows, F]` of `x`, `gamma` and `beta`. */
export const forwardProgram = (rows: number, features: number): WebGPUProgram =>
  program({
    key: 'forward',
    inputs: ['x', 'gamma', 'beta'],
    shape: [rows, features],
    workgroups: rows,
    uniforms: 'epsilon: f32,',
    text: `${reductions}
fn main(index: i32) {
  let features = uniforms.xShape.y;
  let row = index / ${THREADS};
  let moments = momentsOf(row);
  if (row >= uniforms.xShape.x) { return; }
  for (var f = i32(localIndex); f < features; f += ${THREADS}) {
    let at = row * features + f;
    result[at] = (x[at] - moments.x) * moments.y * gamma[f] + beta[f];
  }
}`,
  });

/** `dx [rows, F]` of `x`, `gamma` and `dy`: with `n` the normalised row and `b = dy gamma`, `scale (b - mean b - n mean(b n))`. */
export const rowGradientProgram = (rows: number, features: number): WebGPUProgram =>
  program({
    key: 'rows',
    inputs: ['x', 'gamma', 'dy'],
    shape: [rows, features],
    workgroups: rows,
    uniforms: 'epsilon: f32,',
    text: `${reductions}
fn main(index: i32) {
  let features = uniforms.xShape.y;
  let row = index / ${THREADS};
  let start = min(row, uniforms.xShape.x - 1) * features;
  let moments = momentsOf(row);
  var plain = 0.0;
  var along = 0.0;
  for (var f = i32(localIndex); f < features; f += ${THREADS}) {
    let b = dy[start + f] * gamma[f];
    plain += b;
    along += b * (x[start + f] - moments.x) * moments.y;
  }
  let meanPlain = sum(plain) / f32(features);
  let meanAlong = sum(along) / f32(features);
  if (row >= uniforms.xShape.x) { return; }
  for (var f = i32(localIndex); f < features; f += ${THREADS}) {
    let normal = (x[start + f] - moments.x) * moments.y;
    result[start + f] = moments.y * (dy[start + f] * gamma[f] - meanPlain - normal * meanAlong);
  }
}`,
  });

/** Sums over the rows of each chunk, `[2, chunks, F]` of `x` and `dy`: of `dy n`, for `gamma`, and of `dy`, for `beta`. */
export const featureSumsProgram = (rows: number, features: number): WebGPUProgram => {
  const chunks = Math.ceil(rows / rowsOfChunk(rows));
  const ofThread = Math.ceil(features / THREADS);
  return program({
    key: `features ${ofThread}`,
    inputs: ['x', 'dy'],
    shape: [2, chunks, features],
    workgroups: chunks,
    uniforms: 'epsilon: f32, chunkRows: i32,',
    text: `${reductions}
fn main(index: i32) {
  let features = uniforms.xShape.y;
  let chunk = index / ${THREADS};
  var ofGamma: array<f32, ${ofThread}>;
  var ofBeta: array<f32, ${ofThread}>;
  for (var i = 0; i < uniforms.chunkRows; i++) {
    let row = chunk * uniforms.chunkRows + i;
    let moments = momentsOf(row);
    if (row < uniforms.xShape.x) {
      for (var k = 0; k < ${ofThread}; k++) {
        let f = i32(localIndex) + k * ${THREADS};
        if (f < features) {
          let at = row * features + f;
          ofGamma[k] += dy[at] * (x[at] - moments.x) * moments.y;
          ofBeta[k] += dy[at];
        }
      }
    }
  }
  for (var k = 0; k < ${ofThread}; k++) {
    let f = i32(localIndex) + k * ${THREADS};
    if (f < features) {
      result[chunk * features + f] = ofGamma[k];
      result[(uniforms.outShape.y + chunk) * features + f] = ofBeta[k];
    }
  }
}`,
  });
};

/** Sum of the partial sums, `[F]`; uniform `which` is 0 for `gamma`'s and 1 for `beta`'s. */
export const addChunksProgram = (features: number): WebGPUProgram =>
  program({
    key: 'chunks',
    inputs: ['x'],
    shape: [features],
    workgroups: Math.ceil(features / THREADS),
    uniforms: 'which: i32,',
    text: `
fn main(index: i32) {
  let chunks = uniforms.xShape.y;
  let features = uniforms.xShape.z;
  if (index >= features) { return; }
  var total = 0.0;
  for (var chunk = 0; chunk < chunks; chunk++) {
    total += x[(uniforms.which * chunks + chunk) * features + index];
  }
  result[index] = total;
}`,
  });
