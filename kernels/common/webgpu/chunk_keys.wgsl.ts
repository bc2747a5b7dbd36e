import { declareKeyChunks, startFunction } from './chunk_products.wgsl.js';
import type { Vectors } from './chunk_states.wgsl.js';
import { rowStore } from './row_store.js';
import { type ParamType, type Shader, unroll } from './shader.js';
import {
  blockRowsOf,
  declareAccumulator,
  declareTile,
  groupsOf,
  mainHead,
  perRow,
  type RowQuad,
  threadsOf,
  type Tile,
  tileBytes,
} from './tile.wgsl.js';

/** What a kernel of the keys' gradients is made for; rows of the tile are keys. */
export interface KeysShape {
  readonly tile: Tile;
  readonly D: number;
  readonly Dv: number;
  readonly key: Vectors;
  readonly value: Vectors;
  readonly isCausal: boolean;
}

/** What an operator brings to it. */
export interface KeysText {
  readonly key: string;
  readonly params: Readonly<Record<string, ParamType>>;
  /** Adds to the accumulators `a`, of `dvalue`, and `b`, of `dkey`; declares `state` first. */
  readonly sum: () => string;
  /** `dkey` of quad `g` of row `i` from the accumulated sum. */
  readonly dkey?: (i: number, g: number) => string;
}

/** A quad of the prepared keys or values of a tile's rows. */
export const keyRow =
  (buffer: string, { width }: Vectors): RowQuad =>
  (i, c) =>
    `${buffer}[row${i} * ${width}u + ${c}]`;

/** What the gradient of key `j` is written as: NaN where a bad row sees it, zeros where it is hidden (docs/decisions/0002). */
const keyGradient = (value: string): string =>
  `select(vec4f(), select(${value}, vec4f(params.nan), j < badBound), isVisible)`;

/** Writes `result(i, g)` to the rows of a tensor `[heads, Tk, ..]`. */
const storeKeys = (tile: Tile, name: string, width: number, result: (i: number, g: number) => string): string =>
  perRow(
    tile,
    (i) => `{
    let j = firstKey + ty + ${tile.threadsY * i}u;
    let isVisible = keyTerms[row${i}] > -1e29;
    if (j < params.Tk) {
      ${unroll(groupsOf(tile, width), (g) => `store_${name}((params.firstHead + head) * params.Tk + j, tx + ${tile.threadsX * g}u, ${keyGradient(result(i, g))});`)}
    }
  }`,
  );

/** `dkey` and `dvalue` of attention that is summed in chunks. One workgroup a tile of keys. */
export function chunkKeysShader(
  shape: KeysShape,
  { key: name, params, sum, dkey = (i, g) => `b${i}_${g}` }: KeysText,
): Shader {
  const { tile, D, Dv, key, value, isCausal } = shape;
  const [storeKey, storeValue] = [rowStore('dkey', D), rowStore('dvalue', Dv)];
  return {
    key: `${name} ${JSON.stringify(shape)}`,
    workgroupSize: threadsOf(tile),
    params,
    buffers: {
      ...(isCausal && { rows: { access: 'read', element: 'vec4f' } as const }),
      preparedKey: { access: 'read', element: 'vec4f' },
      preparedValue: { access: 'read', element: 'vec4f' },
      keyTerms: { access: 'read', element: 'f32' },
      marks: { access: 'read', element: 'u32' },
      states: { access: 'read', element: 'vec4f' },
      dkey: storeKey.buffer,
      dvalue: storeValue.buffer,
    },
    workgroupBytes: tileBytes(tile),
    text: () => `
${startFunction(isCausal)}
${storeKey.text}
${storeValue.text}
${declareTile(tile)}
${mainHead(tile)}
  let head = workgroup.x;
  let firstKey = workgroup.y * ${blockRowsOf(tile)}u;
  ${perRow(tile, (i) => `let row${i} = head * params.Tkp + firstKey + ty + ${tile.threadsY * i}u;`)}
  ${declareKeyChunks(tile, isCausal)}
  ${declareAccumulator(tile, 'a', value.width)}
  ${declareAccumulator(tile, 'b', key.width)}
  ${sum()}
  let badBound = marks[4u * head + 2u];
  ${storeKeys(tile, 'dkey', key.width, dkey)}
  ${storeKeys(tile, 'dvalue', value.width, (i, g) => `a${i}_${g}`)}
}`,
  };
}
