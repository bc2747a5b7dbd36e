/** Positions that are handled together: `positions` of each of `heads` heads, cut into chunks. */
export interface Block {
  readonly firstHead: number;
  readonly heads: number;
  /** First position. */
  readonly first: number;
  readonly chunk: number;
  readonly chunks: number;
  readonly positions: number;
}

/** Heads that are handled together, and their positions block by block. */
export interface HeadGroup {
  readonly firstHead: number;
  readonly heads: number;
  /** The blocks of a range of positions `0 .. length - 1`; all of the same size, so that buffers serve them in turn. */
  blocksOf(length: number): Block[];
}

/** Floats of all buffers that belong to a block: 40 MiB. What belongs to a head as a whole comes on top. */
const BLOCK_FLOATS = 10 * 2 ** 20;

/** Multiply-adds of a draw call: half of what is safe, since sizes are rounded up. */
const MOST_PRODUCTS = 1e9;

/** What the largest block is made of. */
export interface Load {
  readonly heads: number;
  /** The longest range of positions. */
  readonly length: number;
  readonly chunk: number;
  /** Numbers in all buffers, for each position. */
  readonly floats: number;
  /** Multiply-adds of the largest draw call, for each position. */
  readonly products: number;
}

/** Groups of heads whose blocks keep memory and draw calls within their bounds, at any length. */
export function headGroups({ heads, length, chunk, floats, products }: Load): HeadGroup[] {
  const most = Math.max(chunk, Math.floor(Math.min(BLOCK_FLOATS / floats, MOST_PRODUCTS / products)));
  const padded = Math.ceil(length / chunk) * chunk;
  const groups = Math.ceil(heads / Math.max(1, Math.floor(most / padded)));
  const size = Math.ceil(heads / groups);
  return Array.from({ length: Math.ceil(heads / size) }, (_, group) => {
    const firstHead = group * size;
    const own = Math.min(size, heads - firstHead);
    return { firstHead, heads: own, blocksOf: (total) => blocksOf(firstHead, own, total, chunk, most / size) };
  });
}

function blocksOf(firstHead: number, heads: number, length: number, chunk: number, most: number): Block[] {
  const all = Math.ceil(length / chunk);
  const blocks = Math.ceil(all / Math.max(1, Math.floor(most / chunk)));
  const chunks = Math.ceil(all / blocks);
  return Array.from({ length: Math.ceil(all / chunks) }, (_, block) => ({
    firstHead,
    heads,
    first: block * chunks * chunk,
    chunk,
    chunks,
    positions: chunks * chunk,
  }));
}
