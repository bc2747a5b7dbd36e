import type { TexelProgram } from './program.js';

/*
 * Gauss-Jordan elimination of systems `[n, 4 left, width]`, symmetric and positive definite, four channels a step, without
 * pivoting, which such systems need none of. A step drops the columns of its channels.
 */

/**
 * The lines of a step's four channels, solved for them: `[n, 4, width - 1]`. No pivot of a positive definite matrix is below
 * its smallest eigenvalue; rounding that takes one below `least` is undone: that of system `n` is the first number of texel
 * `(from + n) / perLeast * stride`.
 */
export const pivotLinesProgram: TexelProgram = {
  key: 'pivotLines',
  buffers: ['systems', 'least'],
  tensors: [],
  params: { left: 'int', width: 'int', step: 'int', from: 'int', perLeast: 'int', stride: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int line = at / (width - 1);
  int c = at - line * (width - 1) + 1;
  int n = line / 4;
  float lowest = leastAt((from + n) / perLeast * stride).x;
  vec4 pivots[4];
  vec4 x[4];
  for (int e = 0; e < 4; e++) {
    int pivotLine = (n * 4 * left + 4 * step + e) * width;
    pivots[e] = systemsAt(pivotLine);
    x[e] = systemsAt(pivotLine + c);
  }
  for (int e = 0; e < 4; e++) {
    float pivot = max(pivots[e][e], lowest);
    for (int below = e + 1; below < 4; below++) {
      float factor = pivots[below][e] / pivot;
      pivots[below] -= factor * pivots[e];
      x[below] -= factor * x[e];
    }
  }
  for (int e = 3; e >= 0; e--) {
    for (int known = e + 1; known < 4; known++) x[e] -= pivots[e][known] * x[known];
    x[e] /= max(pivots[e][e], lowest);
  }
  int own = line & 3;
  return own == 0 ? x[0] : own == 1 ? x[1] : own == 2 ? x[2] : x[3];
}`,
};

/** The systems after a step, `[n, 4 left, width - 1]`, the first at texel `start`. */
export const eliminateProgram: TexelProgram = {
  key: 'eliminate',
  buffers: ['systems', 'pivotLines'],
  tensors: [],
  params: { left: 'int', width: 'int', step: 'int', start: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int line = (at - start) / (width - 1);
  int c = at - start - line * (width - 1);
  int n = line / (4 * left);
  int own = line - n * 4 * left - 4 * step;
  int pivotLine = 4 * n * (width - 1) + c;
  if (own >= 0 && own < 4) return pivotLinesAt(pivotLine + own * (width - 1));
  vec4 column = systemsAt(line * width);
  vec4 sum = systemsAt(line * width + c + 1);
  for (int e = 0; e < 4; e++) sum -= column[e] * pivotLinesAt(pivotLine + e * (width - 1));
  return sum;
}`,
};
