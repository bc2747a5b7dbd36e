import type { TexelProgram } from './program.js';

/** What a key or row is, by one number: hidden or blind, ordinary, or not finite. Four of them are in one texel. */
export const [BLIND, ORDINARY, BAD] = [0, 1, 2];

/** Texels of flags that one texel of a reduction is made of. */
const SEGMENT = 64;

/** `flags [heads, count / 4]` of keys: hidden by the mask, ordinary, or with a number that is not finite. */
export function keyFlagsProgram(hasMask: boolean): TexelProgram {
  return {
    key: `keyFlags ${hasMask}`,
    buffers: [],
    tensors: ['key', 'value', ...(hasMask ? ['keyMask'] : [])],
    params: { firstHead: 'int', Tk: 'int', D: 'int', Dv: 'int', ...(hasMask && { headsPerBatch: 'int' as const }) },
    writes: 'buffer',
    text: () => `
float flagOf(int head, int j) {
  ${hasMask ? `if (keyMaskAt(head / headsPerBatch * Tk + j) == 0.0) return ${BLIND}.0;` : ''}
  int row = head * Tk + j;
  bool good = true;
  for (int d = 0; d < D; d++) good = good && isFinite(keyAt(row * D + d));
  for (int d = 0; d < Dv; d++) good = good && isFinite(valueAt(row * Dv + d));
  return good ? ${ORDINARY}.0 : ${BAD}.0;
}
vec4 texel(int at) {
  int quads = (Tk + 3) / 4;
  int head = at / quads;
  int first = 4 * (at - head * quads);
  vec4 flags = vec4(${BLIND}.0);
  for (int e = 0; e < 4; e++) if (first + e < Tk) flags[e] = flagOf(firstHead + head, first + e);
  return flags;
}`,
  };
}

/** Keys before the bound of row `i`. */
const BOUND = `
int boundOf(int i) { return isCausal != 0 ? clamp(Tk - Tq + i + 1, 0, Tk) : Tk; }`;

/** `flags [heads, Tq / 4]` of rows, whose own numbers are in the given tensors; `bounds` from `firstKeysProgram`. */
export function rowFlagsProgram(tensors: readonly string[]): TexelProgram {
  const checks = tensors.map(
    (name) => `for (int d = 0; d < ${name}Width; d++) good = good && isFinite(${name}At(row * ${name}Width + d));`,
  );
  const widths = Object.fromEntries(tensors.map((name) => [`${name}Width`, 'int' as const]));
  return {
    key: `rowFlags ${tensors.join()}`,
    buffers: ['bounds'],
    tensors,
    params: { firstHead: 'int', Tq: 'int', Tk: 'int', isCausal: 'int', ...widths },
    writes: 'buffer',
    text: () => `
${BOUND}
float flagOf(int head, int i) {
  vec4 firstKeys = boundsAt(head);
  float bound = float(boundOf(i));
  if (bound <= firstKeys.x) return ${BLIND}.0;
  if (bound > firstKeys.y) return ${BAD}.0;
  int row = (firstHead + head) * Tq + i;
  bool good = true;
  ${checks.join('\n  ')}
  return good ? ${ORDINARY}.0 : ${BAD}.0;
}
vec4 texel(int at) {
  int quads = (Tq + 3) / 4;
  int head = at / quads;
  int first = 4 * (at - head * quads);
  vec4 flags = vec4(${BLIND}.0);
  for (int e = 0; e < 4; e++) if (first + e < Tq) flags[e] = flagOf(head, first + e);
  return flags;
}`,
  };
}

/** Number of segments of `count` flags. */
export const segmentsOf = (count: number): number => Math.ceil(count / 4 / SEGMENT);

/** `[heads, segments]`: the first visible key and the first that is not finite, `Tk` where there is none. */
export const firstKeysProgram: TexelProgram = {
  key: 'firstKeys',
  buffers: ['flags'],
  tensors: [],
  params: { Tk: 'int', segments: 'int' },
  writes: 'buffer',
  text: () => `
vec4 texel(int at) {
  int head = at / segments;
  int quads = (Tk + 3) / 4;
  int first = (at - head * segments) * ${SEGMENT};
  vec4 least = vec4(float(Tk));
  for (int q = min(first + ${SEGMENT}, quads) - 1; q >= first; q--) {
    vec4 flags = flagsAt(head * quads + q);
    for (int e = 3; e >= 0; e--) {
      if (flags[e] != ${BLIND}.0) least.x = float(4 * q + e);
      if (flags[e] == ${BAD}.0) least.y = float(4 * q + e);
    }
  }
  return least;
}`,
};

/** `[heads, segments]`: keys before the bound of the last row that is bad, 0 where there is none. */
export const badBoundProgram: TexelProgram = {
  key: 'badBound',
  buffers: ['flags'],
  tensors: [],
  params: { Tq: 'int', Tk: 'int', isCausal: 'int', segments: 'int' },
  writes: 'buffer',
  text: () => `
${BOUND}
vec4 texel(int at) {
  int head = at / segments;
  int quads = (Tq + 3) / 4;
  int first = (at - head * segments) * ${SEGMENT};
  float most = 0.0;
  for (int q = first; q < min(first + ${SEGMENT}, quads); q++) {
    vec4 flags = flagsAt(head * quads + q);
    for (int e = 0; e < 4; e++) if (flags[e] == ${BAD}.0) most = float(boundOf(4 * q + e));
  }
  return vec4(most);
}`,
};

/** `[heads]`: the least or largest of `parts [heads, segments]`. */
export function reduceProgram(operation: 'min' | 'max'): TexelProgram {
  return {
    key: `reduce ${operation}`,
    buffers: ['parts'],
    tensors: [],
    params: { segments: 'int' },
    writes: 'buffer',
    text: () => `
vec4 texel(int at) {
  vec4 x = partsAt(at * segments);
  for (int s = 1; s < segments; s++) x = ${operation}(x, partsAt(at * segments + s));
  return x;
}`,
  };
}
