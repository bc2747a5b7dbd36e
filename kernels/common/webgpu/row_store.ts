import type { BufferType } from './shader.js';

/** How rows of a tensor `[.., width]` are written, a quad at a time, whether or not the width is a multiple of four. */
export interface RowStore {
  readonly buffer: BufferType;
  /** `fn store_name(row, c, x)`: writes numbers `4c .. 4c + 3` of a row, those that the row has. */
  readonly text: string;
}

export function rowStore(name: string, width: number): RowStore {
  return rowStoreOf(name, `${width}u`, width % 4 === 0);
}

/**
 * The same for a width that is a uniform (an expression), so that one shader serves all of them; \`isAligned\`: it is a
 * multiple of four; \`isAdded\`: to what is there.
 */
export function rowStoreOf(name: string, width: string, isAligned: boolean, isAdded = false): RowStore {
  const store = isAdded ? '+=' : '=';
  const element = isAligned ? 'vec4f' : 'f32';
  const parts = ['x', 'y', 'z', 'w'].map(
    (part, e) => `if (4u * c + ${e}u < ${width}) { ${name}[row * ${width} + 4u * c + ${e}u] ${store} x.${part}; }`,
  );
  const body = isAligned
    ? `if (4u * c < ${width}) { ${name}[row * (${width} / 4u) + c] ${store} x; }`
    : parts.join('\n  ');
  return {
    buffer: { access: 'read_write', element },
    text: `\nfn store_${name}(row: u32, c: u32, x: vec4f) {\n  ${body}\n}`,
  };
}
