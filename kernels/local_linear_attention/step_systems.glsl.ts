import { partParams } from '../common/webgl/texels/step.glsl.js';
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
 * `[lines, ranges, 4 width, width]` from line `from` on: `sum_j p_j y_j y_j^T` over ranges of keys, `y_j = k_j - kbar`;
 * `width` is `D / 4`.
 */
export const covarianceProgram: TexelProgram = {
  key: 'llaStepCovariance',
  buffers: ['weights', 'kbar'],
  tensors: ['cachedKey'],
  params: { ...partParams, D: 'int', from: 'int', ranges: 'int', perRange: 'int' },
  writes: 'buffer',
  text: () => `
int slotOf(int j) {
  int s = start + j;
  return s < capacity ? s : s - capacity;
}
vec4 texel(int at) {
  int width = (D + 3) / 4;
  int quads = (keys + 3) / 4;
  int matrixLine = at / width;
  int c = at - matrixLine * width;
  int block = matrixLine / (4 * width);
  int d = matrixLine - block * 4 * width;
  if (d >= D) return vec4(0.0);
  int local = block / ranges;
  int line = from + local;
  int head = line / rows;
  int first = (block - local * ranges) * perRange;
  vec4 centre = kbarAt(line * width + c);
  float own = kbarAt(line * width + d / 4)[d & 3];
  vec4 sum = vec4(0.0);
  for (int j = first; j < min(first + perRange, keys); j++) {
    float weight = weightsAt(line * quads + j / 4)[j & 3];
    if (weight == 0.0) continue;
    int row = (head * capacity + slotOf(j)) * D;
    float y = weight * (cachedKeyAt(row + d) - own);
    for (int e = 0; e < 4; e++) if (4 * c + e < D) sum[e] += y * (cachedKeyAt(row + 4 * c + e) - centre[e]);
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
