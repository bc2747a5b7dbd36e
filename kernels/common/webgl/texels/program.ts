/** The type of a uniform. */
export type TexelParam = 'int' | 'float';

/**
 * A fragment program as a plain record: what it reads, and its text as a pure function of what it was made for. All sizes
 * are uniforms, so that a program is compiled once for all shapes.
 *
 * A buffer is an RGBA32F texture that is read as a row of texels, four numbers each: `<name>At(i)` is texel `i`. A tensor
 * is one of tfjs's, as R32F: `<name>At(i)` is number `i`.
 */
export interface TexelProgram {
  /** Names the program among all others: whatever the text depends on is in it. */
  readonly key: string;
  readonly buffers: readonly string[];
  readonly tensors: readonly string[];
  readonly params: Readonly<Record<string, TexelParam>>;
  /**
   * Everything behind the declarations. It defines `vec4 texel(int at)`, which makes texel `at` of a buffer, or, where
   * `writes` is `tensor`, `float number(int at)`, which makes number `at` of a tensor.
   */
  readonly text: () => string;
  readonly writes: 'buffer' | 'tensor';
}

/** Texels side by side in a buffer's texture, as a power of two: what every device has room for. */
const WIDTH_BITS = 11;

/** Texels side by side in a buffer's texture. */
export const BUFFER_WIDTH = 1 << WIDTH_BITS;

const bufferText = (name: string): string => `
uniform sampler2D ${name};
vec4 ${name}At(int i) { return texelFetch(${name}, ivec2(i & ${BUFFER_WIDTH - 1}, i >> ${WIDTH_BITS}), 0); }`;

const tensorText = (name: string): string => `
uniform sampler2D ${name};
uniform ivec2 ${name}Place;
float ${name}At(int i) {
  int n = i + ${name}Place.y;
  int y = n / ${name}Place.x;
  return texelFetch(${name}, ivec2(n - y * ${name}Place.x, y), 0).r;
}`;

/** Whether a number is finite, by its bits: a shader's compiler may take it that every number is. */
const IS_FINITE = `
bool isFinite(float x) { return (floatBitsToInt(x) & 0x7f800000) != 0x7f800000; }`;

const PRECISION = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;`;

/** Uniforms, and what a program reads. */
function declarations({ buffers, tensors, params }: Pick<TexelProgram, 'buffers' | 'tensors' | 'params'>): string {
  return `
uniform float nan;
${Object.entries(params)
  .map(([name, type]) => `uniform ${type} ${name};`)
  .join('\n')}
${buffers.map(bufferText).join('\n')}
${tensors.map(tensorText).join('\n')}
${IS_FINITE}`;
}

/** The whole text of a program. */
export function fragmentText(program: TexelProgram): string {
  const result = program.writes === 'tensor' ? 'vec4(number(at), 0.0, 0.0, 0.0)' : 'texel(at)';
  return `${PRECISION}
out vec4 result;
uniform ivec3 target;
${declarations(program)}
${program.text()}
void main() {
  int at = int(gl_FragCoord.y) * target.x + int(gl_FragCoord.x);
  if (at < target.y || at >= target.z) discard;
  result = ${result};
}`;
}

/**
 * A program that writes single numbers of a tensor and leaves all others as they are: one point each, so that its cost does
 * not depend on the tensor's size.
 */
export interface PointsProgram extends Pick<TexelProgram, 'key' | 'tensors' | 'params'> {
  /** Defines `int placeOf(int n)`, where the number of point `n` goes, and `float number(int n)`, the number. */
  readonly text: () => string;
}

/** The text of a program over points. */
export function pointsText(program: PointsProgram): { vertex: string; fragment: string } {
  const shared = `${declarations({ ...program, buffers: [] })}
${program.text()}`;
  return {
    vertex: `${PRECISION}
flat out int point;
uniform ivec2 target;
${shared}
void main() {
  point = gl_VertexID;
  int place = placeOf(point);
  int y = place / target.x;
  vec2 centre = vec2(place - y * target.x, y) + 0.5;
  gl_Position = vec4(2.0 * centre / vec2(target) - 1.0, 0.0, 1.0);
  gl_PointSize = 1.0;
}`,
    fragment: `${PRECISION}
flat in int point;
out vec4 result;
${shared}
void main() {
  result = vec4(number(point), 0.0, 0.0, 0.0);
}`,
  };
}
