import { BAD, BLIND } from './marks.glsl.js';
import type { TexelProgram } from './program.js';

/** What is done to a number before it is stored. */
export interface Finish {
  readonly name: string;
  readonly buffers: readonly string[];
  readonly params: TexelProgram['params'];
  /** An expression of the number `x`, of channel `d` of vector `line` of the block, whose texels are `width` apart. */
  readonly text: string;
}

/**
 * Vectors of a block as part of a tensor `[.., T, numbers]`. Rows that are not finite become NaN; of keys (`isKey`) those
 * that a row sees which is not finite. What is blind or hidden becomes zeros.
 */
export function storeProgram(isKey: boolean, finish?: Finish): TexelProgram {
  const state = isKey
    ? `if (flag == ${BLIND}.0) return 0.0;
  if (float(i) < badBoundAt(head).x) return nan;`
    : `if (flag == ${BLIND}.0) return 0.0;
  if (flag == ${BAD}.0) return nan;`;
  return {
    key: `store ${isKey} ${finish?.name ?? ''}`,
    buffers: ['flags', 'values', ...(isKey ? ['badBound'] : []), ...(finish?.buffers ?? [])],
    tensors: [],
    params: {
      firstHead: 'int',
      T: 'int',
      numbers: 'int',
      width: 'int',
      positions: 'int',
      first: 'int',
      shift: 'int',
      ...finish?.params,
    },
    writes: 'tensor',
    text: () => `
float number(int at) {
  int row = at / numbers;
  int d = at - row * numbers;
  int head = row / T;
  int i = row - head * T;
  head -= firstHead;
  float flag = flagsAt(head * ((T + 3) / 4) + i / 4)[i & 3];
  ${state}
  int line = head * positions + i + shift - first;
  float x = valuesAt(line * width + d / 4)[d & 3];
  return ${finish?.text ?? 'x'};
}`,
  };
}
