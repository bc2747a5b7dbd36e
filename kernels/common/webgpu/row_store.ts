import type { BufferType } from './shader.js';

/** How rows of a tensor `[.., width]` are written, a quad at a time, whether or not the width is a multiple of four. */
export interface RowStore {
  readonly buffer: BufferType;
  /** `fn store_name(row, c, x)`: writes numbers `4c .. 4c + 3` of a row, those that the row has. */
  readonly text: string;
}

export function rowStore(name: string, width: number): RowStore {
  const isAligned = width % 4 === 0;
  const element = isAligned ? 'vec4f' : 'f32';
  const parts = ['x', 'y', 'z', 'w'].map(
    (part, e) => `if (4u * c + ${e}u < ${width}u) { ${name}[row * ${width}u + 4u * c + ${e}u] = x.${part}; }`,
  );
  const body = isAligned ? `if (4u * c < ${width}u) { ${name}[row * ${width / 4}u + c] = x; }` : parts.join('\n  ');
  return {
    buffer: { access: 'read_write', element },
    text: `\nfn store_${name}(row: u32, c: u32, x: vec4f) {\n  ${body}\n}`,
  };
}
