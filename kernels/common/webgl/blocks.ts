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
 * Bytes for the weights of a block. A call's textures shall take no more than an eighth of a `Tq x Tk` float32 matrix from
 * 4096 rows and keys on (there 8 MiB, 4.5 of them for what is kept of keys, 1 for what is kept of rows), and 64 MiB always.
 * Shorter calls get enough to keep a device busy, for every draw costs time of its own.
 */
export function weightBudget({ Tq, Tk }: AttentionDims): number {
  const eighth = (Tq * Tk) / 2;
  return eighth < 8 * MiB ? 8 * MiB : Math.min(24 * MiB, 0.3 * eighth);
}

/** Cuts a call into blocks whose weights are within the budget, whatever the keys of a single head take. */
export function blockSizes(dims: AttentionDims, { weights, keyColumns }: Footprint, maxSize: number): BlockSizes {
  const { heads, Tq, Tk, D, Dv } = dims;
  const keys = 4 * tilesOf(Tk);
  const weightBytes = weightBudget(dims);
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
