/** Type of a uniform: all are scalars, so that their layout is one word each. */
export type ParamType = 'u32' | 'i32' | 'f32';

/** How a shader sees a storage buffer. */
export interface BufferType {
  readonly access: 'read' | 'read_write';
  /** Element of the array: `f32`, `u32`, `vec4f`, `atomic<u32>`. */
  readonly element: string;
}

/**
 * A compute shader as a plain record: what it reads, and its text as a pure function of what it was made for. The
 * launch code declares uniforms and buffers under the names given here, so a shader's text starts behind them.
 */
export interface Shader {
  /** Names the shader among all others: whatever the text depends on is in it. */
  readonly key: string;
  readonly workgroupSize: number;
  /** Uniforms in their order, read as `params.name`. */
  readonly params: Readonly<Record<string, ParamType>>;
  /** Storage buffers in the order of their bindings; every one must be used by the text. */
  readonly buffers: Readonly<Record<string, BufferType>>;
  /** Bytes of workgroup memory that the text declares. */
  readonly workgroupBytes: number;
  /** What has to stand before them: extensions of the language. */
  readonly directives?: string;
  /** Everything behind the declarations, with an entry point `main`. */
  readonly text: () => string;
}

/** The whole text of a shader. */
export function shaderText(shader: Shader): string {
  const fields = Object.entries(shader.params).map(([name, type]) => `  ${name}: ${type},`);
  const buffers = Object.entries(shader.buffers).map(
    ([name, { access, element }], i) =>
      `@group(0) @binding(${i + 1}) var<storage, ${access}> ${name}: array<${element}>;`,
  );
  return [
    ...(shader.directives === undefined ? [] : [shader.directives]),
    'struct Params {',
    ...fields,
    '}',
    '@group(0) @binding(0) var<uniform> params: Params;',
    ...buffers,
    shader.text(),
  ].join('\n');
}

/** The uniforms of a shader as they lie in its buffer; a uniform buffer's size is a multiple of 16 bytes. */
export function packParams(shader: Shader, values: Readonly<Record<string, number>>): ArrayBuffer {
  const names = Object.keys(shader.params);
  const view = new DataView(new ArrayBuffer(Math.max(16, Math.ceil(names.length / 4) * 16)));
  names.forEach((name, i) => {
    const value = values[name] as number | undefined;
    if (value === undefined) throw new Error(`shader ${shader.key}: no value for its uniform ${name}`);
    const type = shader.params[name];
    if (type === 'f32') view.setFloat32(4 * i, value, true);
    else if (type === 'u32') view.setUint32(4 * i, value, true);
    else view.setInt32(4 * i, value, true);
  });
  return view.buffer;
}

/** `text(0) text(1) ...`: for loops that the shader's compiler must not see as loops. */
export function unroll(count: number, text: (i: number) => string, separator = '\n'): string {
  return Array.from({ length: count }, (_, i) => text(i)).join(separator);
}
