import { partParams, SLOT } from '../common/webgl/texels/step.glsl.js';
import type { TexelProgram } from '../common/webgl/texels/program.js';

/** `[lines]`: the ridge of each row of a part, 1 where it is unusable, then not a number in its place. */
export function stepRidgesProgram(isTensor: boolean): TexelProgram {
  return {
    key: `llaStepRidges ${isTensor}`,
    buffers: [],
    tensors: isTensor ? ['ridge'] : [],
    params: isTensor ? { t: 'int', firstRow: 'int', rows: 'int' } : { ridge: 'float' },
    writes: 'buffer',
    text: () => `
vec4 texel(int at) {
  ${
    isTensor
      ? `int head = at / rows;
  float x = ridgeAt(head * t + firstRow + at - head * rows);`
      : 'float x = ridge;'
  }
  bool isUsable = x > 0.0 && isFinite(x);
  return vec4(isUsable ? x : 1.0, isUsable ? 1.0 : nan, 0.0, 0.0);
}`,
  };
}

/**
 * `[lines, keys, width]` from line `from` on: `sqrt(p_j) (k_j - kbar)`, whose products with themselves sum up to the
 * covariance; `width` is `D / 4`. Zeros for keys that have no weight, which may hold anything.
 */
export const centredKeysProgram: TexelProgram = {
  key: 'llaStepCentredKeys',
  buffers: ['weights', 'kbar'],
  tensors: ['cachedKey'],
  params: { ...partParams, D: 'int', from: 'int' },
  writes: 'buffer',
  text: () => `
${SLOT}
vec4 texel(int at) {
  int width = (D + 3) / 4;
  int row = at / width;
  int w = at - row * width;
  int local = row / keys;
  int j = row - local * keys;
  int line = from + local;
  float weight = weightsAt(line * ((keys + 3) / 4) + j / 4)[j & 3];
  vec4 y = vec4(0.0);
  if (weight == 0.0) return y;
  vec4 centre = kbarAt(line * width + w);
  int place = (line / rows * capacity + slotOf(j)) * D + 4 * w;
  for (int e = 0; e < 4; e++) if (4 * w + e < D) y[e] = sqrt(weight) * (cachedKeyAt(place + e) - centre[e]);
  return y;
}`,
};

/** `[lines, ranges, 4 width, width]`: `sum_j y_j y_j^T` of `centredKeysProgram`'s over ranges of keys. */
export const covarianceProgram: TexelProgram = {
  key: 'llaStepCovariance',
  buffers: ['centred'],
  tensors: [],
  params: { keys: 'int', width: 'int', ranges: 'int', perRange: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int matrixLine = at / width;
  int c = at - matrixLine * width;
  int block = matrixLine / (4 * width);
  int d = matrixLine - block * 4 * width;
  int local = block / ranges;
  int first = (block - local * ranges) * perRange;
  int own = d / 4;
  int e = d & 3;
  vec4 sum = vec4(0.0);
  for (int j = local * keys + first; j < local * keys + min(first + perRange, keys); j++) {
    sum += centredAt(j * width + own)[e] * centredAt(j * width + c);
  }
  return sum;
}`,
};

/** Systems `[lines, 4 width, width + 1]`: the sums of all ranges plus the ridge, then `q - kbar`; 1 on the padded diagonal. */
export const covarianceSystemsProgram: TexelProgram = {
  key: 'llaStepSystems',
  buffers: ['parts', 'query', 'kbar', 'ridges'],
  tensors: [],
  params: { D: 'int', from: 'int', ranges: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int width = (D + 3) / 4;
  int matrixLine = at / (width + 1);
  int c = at - matrixLine * (width + 1);
  int local = matrixLine / (4 * width);
  int d = matrixLine - local * 4 * width;
  int line = from + local;
  if (c == width) {
    int place = line * width + d / 4;
    return vec4(queryAt(place)[d & 3] - kbarAt(place)[d & 3], 0.0, 0.0, 0.0);
  }
  vec4 sum = vec4(0.0);
  for (int r = 0; r < ranges; r++) sum += partsAt(((local * ranges + r) * 4 * width + d) * width + c);
  if (d / 4 == c) sum[d & 3] += d < D ? ridgesAt(line).x : 1.0;
  return sum;
}`,
};

/** Probes `[lines, width]` from solutions `[lines, 4 width, 1]`; not a number where the ridge is unusable. */
export const stepProbesProgram: TexelProgram = {
  key: 'llaStepProbes',
  buffers: ['solutions', 'ridges'],
  tensors: [],
  params: { D: 'int', from: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int width = (D + 3) / 4;
  int line = at / width;
  int place = ((line - from) * width + at - line * width) * 4;
  float factor = ridgesAt(line).y;
  return factor * vec4(
    solutionsAt(place).x, solutionsAt(place + 1).x, solutionsAt(place + 2).x, solutionsAt(place + 3).x);
}`,
};
