import { type AttentionDims, visibleKeys } from '../dims.js';

/** A draw takes no more multiply-adds than this: Windows resets a GPU that is busy for two seconds. */
export const MAX_MULTIPLY_ADDS = 2e9;

/** More rows than this would only make causal blocks compute what their rows do not see. */
const MAX_ROWS = 256;

/** Fewer rows in a block leave a GPU idle. */
const FEW_ROWS = 32;

const MiB = 2 ** 20;

/** Matrices that a kernel keeps: of `rows x keys`, and columns of all those with a row per key. */
export interface Footprint {
  readonly weights: number;
  readonly keyColumns: number;
}

/** Heads taken together, and query rows of each at a time. */
export interface BlockSizes {
  readonly heads: number;
  /** A multiple of 4. */
  readonly rows: number;
}

export const tilesOf = (n: number): number => Math.ceil(n / 4);

/**
 * Cuts a call into blocks. The weights of a block take an eightieth of `Tq x Tk` float32 numbers for each of five of them
 * (2.4 MiB at the least, 24 MiB at the most), so that a call's textures stay below an eighth of such a matrix from 4096
 * rows on and below 64 MiB always, but for the keys of a single head.
 */
export function blockSizes(dims: AttentionDims, { weights, keyColumns }: Footprint, maxSize: number): BlockSizes {
  const { heads, Tq, Tk, D, Dv } = dims;
  const keys = 4 * tilesOf(Tk);
  const weightBytes = Math.min(24 * MiB, Math.max(2.4 * MiB, (Tq * Tk) / 28));
  const keyBytes = 4 * keys * keyColumns;
  const bound = (n: number) => Math.max(1, Math.floor(n));
  const rowsFor = (group: number): number => {
    const bytes = weightBytes / (4 * keys * group * weights);
    const work = MAX_MULTIPLY_ADDS / (group * keys * (Math.max(D, Dv) + 4));
    return Math.min(4 * tilesOf(Tq), MAX_ROWS, 4 * bound(bytes / 4), 4 * bound(work / 4));
  };
  const wanted = Math.min(FEW_ROWS, 4 * tilesOf(Tq));
  let group = Math.min(heads, bound((5 * MiB) / keyBytes), bound(maxSize / tilesOf(Math.max(Tk, MAX_ROWS))));
  while (group > 1 && rowsFor(group) < wanted) group = Math.ceil(group / 2);
  return { heads: group, rows: rowsFor(group) };
}

/** Heads that are prepared together. */
export interface HeadGroup {
  readonly firstHead: number;
  readonly heads: number;
}

/** Rows `start .. end - 1` of a group of heads, and the keys that they may see. */
export interface RowBlock extends HeadGroup {
  readonly start: number;
  readonly end: number;
  readonly rowTiles: number;
  /** Tiles of keys before the causal bound of the last row. */
  readonly seenTiles: number;
}

export function* headGroups(dims: AttentionDims, sizes: BlockSizes): Generator<HeadGroup> {
  for (let firstHead = 0; firstHead < dims.heads; firstHead += sizes.heads) {
    yield { firstHead, heads: Math.min(sizes.heads, dims.heads - firstHead) };
  }
}

export function* rowBlocks(
  dims: AttentionDims,
  causal: boolean,
  sizes: BlockSizes,
  group: HeadGroup,
): Generator<RowBlock> {
  for (let start = 0; start < dims.Tq; start += sizes.rows) {
    const end = Math.min(start + sizes.rows, dims.Tq);
    const seenTiles = tilesOf(visibleKeys(dims, causal, end - 1));
    yield { ...group, start, end, rowTiles: tilesOf(end - start), seenTiles };
  }
}
