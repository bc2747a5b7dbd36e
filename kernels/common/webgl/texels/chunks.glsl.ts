import { ORDINARY } from './marks.glsl.js';
import type { TexelProgram } from './program.js';

/*
 * Programs over blocks of positions: `rows [heads, positions, width]` are vectors of `width` texels, cut into chunks of
 * `chunk` positions; a state is a matrix `[4 left, right]` with rows of `right` texels.
 */

/**
 * Vectors of a tensor `[.., T, numbers]` at the positions of a block, position `p` being entry `first + p - shift`: zeros
 * where there is none or where it is not ordinary.
 *
 * @param map `vec4 mapped(vec4)` of every texel, an expression of `x`.
 * @param hasOne whether a 1 follows the numbers.
 */
export function loadProgram(
  map: { readonly name: string; readonly text: string } | undefined,
  hasOne: boolean,
): TexelProgram {
  return {
    key: `load ${map?.name ?? ''} ${hasOne}`,
    buffers: ['flags'],
    tensors: ['source'],
    params: { firstHead: 'int', T: 'int', numbers: 'int', width: 'int', positions: 'int', first: 'int', shift: 'int' },
    writes: 'buffer',
    text: () => `
vec4 texel(int at) {
  int row = at / width;
  int channel = 4 * (at - row * width);
  int head = row / positions;
  int i = row - head * positions + first - shift;
  if (i < 0 || i >= T) return vec4(0.0);
  if (flagsAt(head * ((T + 3) / 4) + i / 4)[i & 3] != ${ORDINARY}.0) return vec4(0.0);
  int start = ((firstHead + head) * T + i) * numbers;
  vec4 x = vec4(0.0);
  bvec4 isNumber = bvec4(false);
  for (int e = 0; e < 4; e++) {
    if (channel + e < numbers) {
      x[e] = sourceAt(start + channel + e);
      isNumber[e] = true;
    }
  }
  ${map ? `x = mix(vec4(0.0), ${map.text}, isNumber);` : ''}
  ${hasOne ? 'if (channel <= numbers && numbers < channel + 4) x[numbers - channel] = 1.0;' : ''}
  return x;
}`,
  };
}

/** `[heads, chunks, 4 left, right]`: `sum_j left_j right_j^T` over the positions of each chunk. */
export const chunkSumsProgram: TexelProgram = {
  key: 'chunkSums',
  buffers: ['lefts', 'rights'],
  tensors: [],
  params: { left: 'int', right: 'int', chunk: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int line = at / right;
  int r = at - line * right;
  int block = line / (4 * left);
  int d = line - block * 4 * left;
  int l = d / 4;
  int e = d & 3;
  vec4 sum = vec4(0.0);
  for (int row = block * chunk; row < (block + 1) * chunk; row++) {
    sum += leftsAt(row * left + l)[e] * rightsAt(row * right + r);
  }
  return sum;
}`,
};

/**
 * States from the sums of `chunks` chunks: `[heads, slots, size]`, slot `firstSlot + s` being the carried state plus the
 * sums of all chunks before it or, in reverse, behind it; slot `chunks` is that of all chunks.
 */
export function scanProgram(hasCarry: boolean): TexelProgram {
  return {
    key: `scan ${hasCarry}`,
    buffers: ['sums', ...(hasCarry ? ['carry'] : [])],
    tensors: [],
    params: {
      size: 'int',
      chunks: 'int',
      slots: 'int',
      firstSlot: 'int',
      isReverse: 'int',
      ...(hasCarry && { carrySlots: 'int' as const }),
    },
    writes: 'buffer',
    text: () => `
vec4 texel(int at) {
  int line = at / size;
  int m = at - line * size;
  int head = line / slots;
  int slot = line - head * slots + firstSlot;
  int from = isReverse != 0 && slot < chunks ? slot + 1 : 0;
  int to = isReverse != 0 && slot < chunks ? chunks : slot;
  vec4 sum = vec4(0.0);
  for (int c = from; c < to; c++) sum += sumsAt((head * chunks + c) * size + m);
  ${hasCarry ? 'sum += carryAt((head * carrySlots + carrySlots - 1) * size + m);' : ''}
  return sum;
}`,
  };
}

/**
 * `[heads, positions, chunk / 4]`: `a_p.b_j` for the positions `j` of the chunk of `p` up to `p` or, in reverse, from `p`
 * on, else 0.
 */
export const pairsProgram: TexelProgram = {
  key: 'pairs',
  buffers: ['a', 'b'],
  tensors: [],
  params: { width: 'int', chunk: 'int', isReverse: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int quads = chunk / 4;
  int row = at / quads;
  int first = row / chunk * chunk + 4 * (at - row * quads);
  vec4 products = vec4(0.0);
  for (int w = 0; w < width; w++) {
    vec4 x = aAt(row * width + w);
    for (int e = 0; e < 4; e++) products[e] += dot(x, bAt((first + e) * width + w));
  }
  for (int e = 0; e < 4; e++) if (isReverse != 0 ? first + e < row : first + e > row) products[e] = 0.0;
  return products;
}`,
};

/** What a product of vectors and states is made of. */
export interface ProductShape {
  /** Whether it is with the transposed state. */
  readonly isTransposed: boolean;
  /** Whether each chunk has a state and pairs of its own; else a head has one state and there are no pairs. */
  readonly hasPairs: boolean;
  /** Whether it is added to or subtracted from `previous`. */
  readonly onto?: '+' | '-';
}

/**
 * `out_p = x_p S + sum_j pairs_pj y_j`, or with the transposed state: `x [heads, positions, left]`, `S` of
 * `[heads, slots, 4 left, right]`, `y [heads, positions, right]`; transposed, left and right change places for `x` and `y`.
 */
export function productProgram({ isTransposed, hasPairs, onto }: ProductShape): TexelProgram {
  const state = isTransposed
    ? `for (int w = 0; w < right; w++) {
    vec4 x = xAt(row * right + w);
    int line = state * 4 * left + 4 * column;
    for (int e = 0; e < 4; e++) sum[e] += dot(x, statesAt((line + e) * right + w));
  }`
    : `for (int w = 0; w < left; w++) {
    vec4 x = xAt(row * left + w);
    int line = state * 4 * left + 4 * w;
    for (int e = 0; e < 4; e++) sum += x[e] * statesAt((line + e) * right + column);
  }`;
  return {
    key: `product ${isTransposed} ${hasPairs} ${onto ?? ''}`,
    buffers: ['x', 'states', ...(hasPairs ? ['pairs', 'y'] : []), ...(onto ? ['previous'] : [])],
    tensors: [],
    params: { left: 'int', right: 'int', positions: 'int', slots: 'int', ...(hasPairs && { chunk: 'int' as const }) },
    writes: 'buffer',
    text: () => `
vec4 texel(int at) {
  int width = ${isTransposed ? 'left' : 'right'};
  int row = at / width;
  int column = at - row * width;
  int head = row / positions;
  int state = head * slots${hasPairs ? ' + (row - head * positions) / chunk' : ''};
  vec4 sum = vec4(0.0);
  ${state}
  ${
    hasPairs
      ? `int first = row / chunk * chunk;
  for (int q = 0; q < chunk / 4; q++) {
    vec4 weights = pairsAt(row * (chunk / 4) + q);
    for (int e = 0; e < 4; e++) sum += weights[e] * yAt((first + 4 * q + e) * width + column);
  }`
      : ''
  }
  return ${onto ? `previousAt(at) ${onto} sum` : 'sum'};
}`,
  };
}
