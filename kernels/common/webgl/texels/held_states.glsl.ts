import { BAD, BLIND } from './marks.glsl.js';
import type { TexelProgram } from './program.js';

/** `bounds [heads]` (`firstKeysProgram`) for rows that also see the keys of earlier steps, which `count` counts. */
export const limitByCountProgram: TexelProgram = {
  key: 'limitByCount',
  buffers: ['bounds'],
  tensors: ['count'],
  params: { firstHead: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  vec4 bounds = boundsAt(at);
  float count = countAt(firstHead + at);
  if (!isFinite(count)) return vec4(0.0, 0.0, bounds.zw);
  return count > 0.0 ? vec4(0.0, bounds.yzw) : bounds;
}`,
};

/** `count [heads]` after a step: visible keys so far, not a number from the first on that is not finite. */
export const countProgram: TexelProgram = {
  key: 'countAfter',
  buffers: ['flags'],
  tensors: ['count'],
  params: { firstHead: 'int', Tk: 'int' },
  writes: 'tensor',
  text: () => `
float number(int at) {
  int quads = (Tk + 3) / 4;
  float count = countAt(at);
  for (int q = (at - firstHead) * quads; q < (at - firstHead + 1) * quads; q++) {
    vec4 flags = flagsAt(q);
    for (int e = 0; e < 4; e++) {
      if (flags[e] == ${BAD}.0) return nan;
      if (flags[e] != ${BLIND}.0) count += 1.0;
    }
  }
  return count;
}`,
};

/** States `[heads, 4 left, right]` from `sums [all heads, D, columns]` and, where there is one, a last column `[all heads, D]`. */
export function loadStatesProgram(hasColumn: boolean): TexelProgram {
  return {
    key: `loadStates ${hasColumn}`,
    buffers: [],
    tensors: ['sums', ...(hasColumn ? ['column'] : [])],
    params: { firstHead: 'int', D: 'int', columns: 'int', left: 'int', right: 'int' },
    writes: 'buffer',
    text: () => `
vec4 texel(int at) {
  int line = at / right;
  int first = 4 * (at - line * right);
  int head = line / (4 * left);
  int d = line - head * 4 * left;
  vec4 x = vec4(0.0);
  if (d >= D) return x;
  int row = (firstHead + head) * D + d;
  for (int e = 0; e < 4; e++) {
    if (first + e < columns) x[e] = sumsAt(row * columns + first + e);
    ${hasColumn ? 'if (first + e == columns) x[e] = columnAt(row);' : ''}
  }
  return x;
}`,
  };
}

/** Columns `first ..` of the last state of each head, as `[all heads, D, columns]`. */
export const storeStatesProgram: TexelProgram = {
  key: 'storeStates',
  buffers: ['states'],
  tensors: [],
  params: { firstHead: 'int', D: 'int', columns: 'int', firstColumn: 'int', left: 'int', right: 'int', slots: 'int' },
  writes: 'tensor',
  text: () => `
float number(int at) {
  int row = at / columns;
  int c = at - row * columns + firstColumn;
  int head = row / D;
  int d = row - head * D;
  int state = (head - firstHead) * slots + slots - 1;
  return statesAt((state * 4 * left + d) * right + c / 4)[c & 3];
}`,
};
