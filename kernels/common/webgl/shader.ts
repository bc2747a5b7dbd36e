/** How the parameters of a shader are declared. */
export type ParamType = 'int' | 'float';

/**
 * A fragment shader. Shapes are parameters, so that a shader is compiled once for all of them; it is known by its object,
 * so keep it in a constant.
 */
export interface Shader {
  /** Shown where the shader does not compile. */
  readonly name: string;
  /** Matrices that it reads, by the names of their samplers. */
  readonly images: readonly string[];
  /** Tensors of tfjs that it reads with `at(name, index)`: `name` is a sampler, `nameAt` what `at` needs besides. */
  readonly tensors?: readonly string[];
  readonly params: Readonly<Record<string, ParamType>>;
  /** Whether it writes a tensor of tfjs, one number a fragment, or a tile of a matrix. */
  readonly writes: 'tile' | 'number';
  /**
   * A function `bool isIdle()` for draws that turn out to have nothing to do, which only the device knows: the vertex shader
   * asks it and then covers nothing, so that the target keeps its contents.
   */
  readonly idle?: string;
  /** Functions and `main`, which knows its place as `here` and calls `store` with a `mat4` or a number. */
  readonly code: string;
}

/**
 * A tile is a `mat4` whose *columns are the tile's rows*: `tile[a]` is row `a`. With A and B tiles of such matrices, the
 * product A B is `b * a`, A B^T is `transpose(b) * a`, and A^T B is `b * transpose(a)`.
 */
const PRELUDE = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp sampler2DArray;

/** The tile in column x and row y of tiles. */
mat4 load(sampler2DArray image, int x, int y) {
  return mat4(
    texelFetch(image, ivec3(x, y, 0), 0),
    texelFetch(image, ivec3(x, y, 1), 0),
    texelFetch(image, ivec3(x, y, 2), 0),
    texelFetch(image, ivec3(x, y, 3), 0)
  );
}

/** One row of a tile. */
vec4 loadRow(sampler2DArray image, int x, int y, int row) {
  return texelFetch(image, ivec3(x, y, row), 0);
}

/** Element of a tensor whose texture is so many texels wide. */
float at(sampler2D tensor, int width, int index) {
  return texelFetch(tensor, ivec2(index % width, index / width), 0).r;
}

/** By its bits: comparisons with infinities and NaN may be optimized away. */
bool isUsual(float x) {
  return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u;
}

/** The number, or 0 where it is infinite or none. */
float usual(float x) {
  return isUsual(x) ? x : 0.0;
}

/** The four rows' sums of products of two tiles. */
vec4 rowDots(mat4 a, mat4 b) {
  return vec4(dot(a[0], b[0]), dot(a[1], b[1]), dot(a[2], b[2]), dot(a[3], b[3]));
}
`;

const OUTPUTS = {
  tile: `
layout(location = 0) out vec4 tileRow0;
layout(location = 1) out vec4 tileRow1;
layout(location = 2) out vec4 tileRow2;
layout(location = 3) out vec4 tileRow3;
void store(mat4 tile) {
  tileRow0 = tile[0];
  tileRow1 = tile[1];
  tileRow2 = tile[2];
  tileRow3 = tile[3];
}
`,
  number: `
layout(location = 0) out vec4 written;
void store(float number) {
  written = vec4(number, 0.0, 0.0, 0.0);
}
`,
} as const;

function declarations({ images, tensors = [], params }: Shader): string[] {
  return [
    ...images.map((name) => `uniform sampler2DArray ${name};`),
    ...tensors.map((name) => `uniform sampler2D ${name};\nuniform int ${name}At;`),
    ...Object.entries(params).map(([name, type]) => `uniform ${type} ${name};`),
  ];
}

/** The text of a fragment shader. */
export function fragmentText(shader: Shader): string {
  const here = '#define here ivec2(gl_FragCoord.xy)';
  return [PRELUDE, ...declarations(shader), OUTPUTS[shader.writes], here, shader.code].join('\n');
}

/** The text of its vertex shader: a single triangle that covers everything, or nothing. */
export function vertexText(shader: Shader): string {
  const idle = shader.idle === undefined ? ['bool isIdle() { return false; }'] : [...declarations(shader), shader.idle];
  const main = `
void main() {
  vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
  gl_Position = isIdle() ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(corner, 0.0, 1.0);
}
`;
  return [PRELUDE, ...idle, main].join('\n');
}
