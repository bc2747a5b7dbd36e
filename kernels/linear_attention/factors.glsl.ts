import { ORDINARY } from '../common/webgl/texels/marks.glsl.js';
import type { Finish } from '../common/webgl/texels/store.glsl.js';
import type { TexelProgram } from '../common/webgl/texels/program.js';
import { featureDerivativeGlsl } from './feature_map.glsl.js';
import type { FeatureMap } from './spec.js';

/** The factor of a row whose weights sum up to `n`: 0 where that is 0. */
const factorOf = (n: string): string => `(isNormalized == 0 ? scale : ${n} == 0.0 ? 0.0 : 1.0 / ${n})`;

/** Multiplies sums over keys `[v_j, 1]` by the row's factor. */
export const dividedFinish: Finish = {
  name: 'divided',
  buffers: [],
  params: { isNormalized: 'int', scale: 'float' },
  text: `x * ${factorOf('valuesAt(line * width + numbers / 4)[numbers & 3]')}`,
};

/** From the gradient of features to that of what they are features of. */
export function derivativeFinish(name: FeatureMap): Finish {
  return {
    name: `derivative ${name}`,
    buffers: ['features'],
    params: {},
    text: `x * ${featureDerivativeGlsl(name, 'featuresAt(line * width + d / 4)[d & 3]')}`,
  };
}

/**
 * `factors [heads, Tq]` of the rows of a block: `f_i`, what the sums of row `i` are multiplied by, and `-f_i g_i.o_i`, which
 * is 0 without normalisation.
 */
export const factorsProgram: TexelProgram = {
  key: 'linearFactors',
  buffers: ['flags', 'sums', 'dout'],
  tensors: [],
  params: {
    Tq: 'int',
    Dv: 'int',
    positions: 'int',
    first: 'int',
    shift: 'int',
    isNormalized: 'int',
    scale: 'float',
  },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int head = at / Tq;
  int i = at - head * Tq;
  if (flagsAt(head * ((Tq + 3) / 4) + i / 4)[i & 3] != ${ORDINARY}.0) return vec4(0.0);
  int line = head * positions + i + shift - first;
  int width = Dv / 4 + 1;
  int doutWidth = (Dv + 3) / 4;
  float n = sumsAt(line * width + Dv / 4)[Dv & 3];
  float factor = ${factorOf('n')};
  float product = 0.0;
  for (int w = 0; w < doutWidth; w++) product += dot(doutAt(line * doutWidth + w), sumsAt(line * width + w));
  return vec4(factor, isNormalized == 0 ? 0.0 : -factor * factor * product, 0.0, 0.0);
}`,
};

/** `[f_i g_i, -f_i g_i.o_i]`, whose product with `[v_j, 1]` is the gradient of weight `a_ij`; zeros outside of the rows. */
export const extendedCotangentProgram: TexelProgram = {
  key: 'extendedCotangent',
  buffers: ['factors', 'dout'],
  tensors: [],
  params: { Tq: 'int', Dv: 'int', positions: 'int', first: 'int', shift: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int width = Dv / 4 + 1;
  int doutWidth = (Dv + 3) / 4;
  int row = at / width;
  int w = at - row * width;
  int head = row / positions;
  int i = row - head * positions + first - shift;
  if (i < 0 || i >= Tq) return vec4(0.0);
  vec4 factors = factorsAt(head * Tq + i);
  vec4 x = w < doutWidth ? factors.x * doutAt(row * doutWidth + w) : vec4(0.0);
  if (w == Dv / 4) x[Dv & 3] = factors.y;
  return x;
}`,
};
