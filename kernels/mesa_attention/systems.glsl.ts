import { BAD, BLIND } from '../common/webgl/texels/marks.glsl.js';
import type { TexelProgram } from '../common/webgl/texels/program.js';

/** `bounds [heads]` with no key before one that is not finite in heads whose ridge is not positive and finite. */
export const limitByRidgeProgram: TexelProgram = {
  key: 'mesaLimitByRidge',
  buffers: ['bounds'],
  tensors: ['ridge'],
  params: { firstHead: 'int', headsPerBatch: 'int', D: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int first = (firstHead + at) % headsPerBatch * D;
  bool isUsable = true;
  for (int d = 0; d < D; d++) {
    float x = ridgeAt(first + d);
    isUsable = isUsable && x > 0.0 && isFinite(x);
  }
  vec4 bounds = boundsAt(at);
  return isUsable ? bounds : vec4(bounds.x, 0.0, bounds.zw);
}`,
};

/** `ridges [heads, 1 + D / 4]`: the smallest ridge of a head, then all of them; 1 for padding and for what is unusable. */
export function ridgesProgram(isTensor: boolean): TexelProgram {
  return {
    key: `mesaRidges ${isTensor}`,
    buffers: [],
    tensors: isTensor ? ['ridge'] : [],
    params: {
      D: 'int',
      ...(isTensor ? { firstHead: 'int', headsPerBatch: 'int' } : ({ ridge: 'float' } as const)),
    },
    writes: 'buffer',
    text: () => `
float ridgeOf(int head, int d) {
  if (d >= D) return 1.0;
  float x = ${isTensor ? 'ridgeAt((firstHead + head) % headsPerBatch * D + d)' : 'ridge'};
  return x > 0.0 && isFinite(x) ? x : 1.0;
}
vec4 texel(int at) {
  int width = 1 + (D + 3) / 4;
  int head = at / width;
  int w = at - head * width;
  if (w == 0) {
    float least = ridgeOf(head, 0);
    for (int d = 1; d < D; d++) least = min(least, ridgeOf(head, d));
    return vec4(least);
  }
  vec4 x;
  for (int e = 0; e < 4; e++) x[e] = ridgeOf(head, 4 * (w - 1) + e);
  return x;
}`,
  };
}

/**
 * Systems `[systems, 4 left, width]` from number `from` on. Of rows: `H_i` over the keys that row `i` sees, then a texel
 * with its right-hand side; row `entry` of the block, counted through its heads. Of heads: `H`, then, as far as `width` goes,
 * the unit matrix.
 */
export function systemsProgram(ofRows: boolean): TexelProgram {
  const place = ofRows
    ? `int entry = from + at / size;
  int head = entry / T;
  int p = entry - head * T + firstEntry + shift - first;
  int row = head * positions + p;
  int state = head * slots + p / chunk;`
    : `int head = from + at / size;
  int state = head;`;
  const right = ofRows
    ? 'return p < 0 ? vec4(0.0) : vec4(rightsAt(row * left + d / 4)[d & 3], 0.0, 0.0, 0.0);'
    : 'vec4 unit = vec4(0.0); if (d / 4 == c - left) unit[d & 3] = 1.0; return unit;';
  const own = `if (p < 0) return sum;
  sum += statesAt((state * 4 * left + d) * left + c);
  for (int other = row - p % chunk; other <= row; other++) {
    sum += keysAt(other * left + d / 4)[d & 3] * keysAt(other * left + c);
  }
  return sum;`;
  return {
    key: `mesaSystems ${ofRows}`,
    buffers: ['ridges', 'states', ...(ofRows ? ['keys', 'rights'] : [])],
    tensors: [],
    params: {
      from: 'int',
      left: 'int',
      width: 'int',
      ...(ofRows && {
        T: 'int' as const,
        firstEntry: 'int' as const,
        shift: 'int' as const,
        first: 'int' as const,
        positions: 'int' as const,
        slots: 'int' as const,
        chunk: 'int' as const,
      }),
    },
    writes: 'buffer',
    text: () => `
vec4 texel(int at) {
  int size = 4 * left * width;
  ${place}
  int line = at % size;
  int d = line / width;
  int c = line - d * width;
  if (c >= left) {
    ${right}
  }
  vec4 sum = vec4(0.0);
  if (d / 4 == c) sum[d & 3] = ridgesAt(head * (left + 1) + 1 + c)[d & 3];
  ${ofRows ? own : 'return sum + statesAt((state * 4 * left + d) * left + c);'}
}`,
  };
}

/** Rows of the solution `[n, 4 left, 1]` as part of a tensor `[.., T, D]`; rows that are not finite become NaN. */
export const storeSolutionsProgram: TexelProgram = {
  key: 'mesaStoreSolutions',
  buffers: ['solutions', 'flags'],
  tensors: [],
  params: { firstHead: 'int', T: 'int', D: 'int', left: 'int', firstRow: 'int' },
  writes: 'tensor',
  text: () => `
float number(int at) {
  int row = at / D;
  int d = at - row * D;
  int head = row / T - firstHead;
  int i = row % T;
  float flag = flagsAt(head * ((T + 3) / 4) + i / 4)[i & 3];
  if (flag == ${BLIND}.0) return 0.0;
  if (flag == ${BAD}.0) return nan;
  return solutionsAt((row - firstRow) * 4 * left + d).x;
}`,
};

/** Rows whose products one texel of `ridgeSumsProgram` sums up. */
export const RIDGE_ROWS = 64;

/** `[heads, parts, D / 4]`: `-sum_i u_i x_i` over a part of a head's ordinary rows. */
export const ridgeSumsProgram: TexelProgram = {
  key: 'mesaRidgeSums',
  buffers: ['flags'],
  tensors: ['probe', 'dquery'],
  params: { firstHead: 'int', T: 'int', D: 'int', parts: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int width = (D + 3) / 4;
  int line = at / width;
  int channel = 4 * (at - line * width);
  int head = line / parts;
  int first = (line - head * parts) * ${RIDGE_ROWS};
  vec4 sum = vec4(0.0);
  for (int i = first; i < min(first + ${RIDGE_ROWS}, T); i++) {
    float flag = flagsAt(head * ((T + 3) / 4) + i / 4)[i & 3];
    if (flag == ${BLIND}.0 || flag == ${BAD}.0) continue;
    int start = ((firstHead + head) * T + i) * D + channel;
    for (int e = 0; e < 4; e++) if (channel + e < D) sum[e] -= probeAt(start + e) * dqueryAt(start + e);
  }
  return sum;
}`,
};

/** `[heads of the call, D / 4]` from the parts of a group's heads, not a number in heads with a bad row. */
export const ridgeHeadsProgram: TexelProgram = {
  key: 'mesaRidgeHeads',
  buffers: ['parts', 'badBound'],
  tensors: [],
  params: { firstHead: 'int', count: 'int', width: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int head = at / width - firstHead;
  int w = at % width;
  if (badBoundAt(head).x > 0.0) return vec4(nan);
  vec4 sum = vec4(0.0);
  for (int part = 0; part < count; part++) sum += partsAt((head * count + part) * width + w);
  return sum;
}`,
};

/** `dridge [heads / batch, D]` from the sums of all heads: the batch shares a ridge. */
export const ridgeGradientProgram: TexelProgram = {
  key: 'mesaRidgeGradient',
  buffers: ['sums'],
  tensors: [],
  params: { batch: 'int', headsPerBatch: 'int', D: 'int' },
  writes: 'tensor',
  text: () => `
float number(int at) {
  int head = at / D;
  int d = at - head * D;
  float sum = 0.0;
  for (int b = 0; b < batch; b++) sum += sumsAt((b * headsPerBatch + head) * ((D + 3) / 4) + d / 4)[d & 3];
  return sum;
}`,
};
