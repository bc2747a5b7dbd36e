import { type BufferType, unroll } from './shader.js';

/** How rows of a tensor `[.., width]` are read, a quad at a time, whether or not the width is a multiple of four. */
export interface RowLoad {
  readonly buffer: BufferType;
  /** `fn load_name(row, c) -> vec4f`: numbers `4c .. 4c + 3` of a row, zeros beyond its width. */
  readonly text: string;
}

/** `isChecked`: quads beyond the width may be asked for. */
export function rowLoad(name: string, width: number, isChecked: boolean): RowLoad {
  const quads = Math.ceil(width / 4);
  const isAligned = width % 4 === 0;
  const part = (e: number): string =>
    `select(0.0, ${name}[row * ${width}u + min(4u * c + ${e}u, ${width - 1}u)], 4u * c + ${e}u < ${width}u)`;
  const body = isAligned
    ? `${isChecked ? `if (c >= ${quads}u) { return vec4f(); }` : ''} return ${name}[row * ${quads}u + c];`
    : `return vec4f(${unroll(4, part, ', ')});`;
  return {
    buffer: { access: 'read', element: isAligned ? 'vec4f' : 'f32' },
    text: `\nfn load_${name}(row: u32, c: u32) -> vec4f { ${body} }`,
  };
}
