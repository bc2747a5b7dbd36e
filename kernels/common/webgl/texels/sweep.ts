import type { AttentionAttrs } from '../../spec.js';
import { type Block, type HeadGroup, headGroups } from './blocks.js';
import {
  chunkSumsProgram,
  loadProgram,
  pairsProgram,
  productProgram,
  type ProductShape,
  scanProgram,
} from './chunks.glsl.js';
import {
  badBoundProgram,
  firstKeysProgram,
  keyFlagsProgram,
  reduceProgram,
  rowFlagsProgram,
  segmentsOf,
} from './marks.glsl.js';
import { type Finish, storeProgram } from './store.glsl.js';
import type { NumberTensor, TexelBuffer, TexelCall } from './call.js';

/** Vectors of a block: `[heads, positions, width]`. */
export interface Vectors {
  readonly buffer: TexelBuffer;
  /** Texels of one. */
  readonly width: number;
}

/** Matrices of a block: `[heads, slots, 4 left, right]`. */
export interface States {
  readonly buffer: TexelBuffer;
  readonly left: number;
  readonly right: number;
  readonly slots: number;
}

/** Rows of a tensor `[.., T, numbers]`, of which entry `first + p - shift` is at position `p` of a block. */
export interface Entries {
  readonly T: number;
  readonly shift: number;
  readonly flags: TexelBuffer;
}

/** Texels of so many numbers. */
export const quads = (numbers: number): number => Math.ceil(numbers / 4);

/** What is known of a group's keys and rows. */
export interface Marks {
  readonly keys: Entries;
  readonly rows: Entries;
  /** `[heads]`: keys before the bound of the last bad row; undefined outside of a gradient. */
  readonly badBound: TexelBuffer | undefined;
}

/** Products over chunks of positions, for one group of heads after the other; its buffers serve all blocks in turn. */
export class ChunkSweep<Attrs extends AttentionAttrs> {
  constructor(readonly call: TexelCall<Attrs>) {}

  /**
   * The groups of heads of a call.
   *
   * @param vectors numbers of all vectors of a position.
   * @param states how many states a chunk has at once, each at most `left x right`.
   */
  groups({ vectors, states, left, right }: Sizes): HeadGroup[] {
    const { heads, Tq, Tk } = this.call.dims;
    const chunk = this.chunk(left, right);
    const [l, r] = [4 * quads(left), 4 * quads(right)];
    const floats = vectors + (states * l * r) / chunk + chunk;
    const products = l * r + chunk * Math.max(l, r);
    return headGroups({ heads, length: Math.max(Tq, Tk), chunk, floats, products });
  }

  /** Positions of a chunk, for states of so many numbers: as many as make the states no larger than the vectors. */
  private chunk(left: number, right: number): number {
    const { Tq, Tk } = this.call.dims;
    const narrow = 4 * quads(Math.min(left, right));
    const most = this.call.attrs.causal ? Math.max(64, narrow) : Math.max(256, narrow);
    return Math.min(most, 4 * quads(Math.max(Tq, Tk)));
  }

  /** Blocks in the order in which a state of keys grows: each block's keys before its rows, or all keys before all rows. */
  forward(group: HeadGroup, { keys, rows }: Steps): void {
    const { Tq, Tk } = this.call.dims;
    const blocks = group.blocksOf(Tk);
    for (const block of blocks) {
      keys(block);
      if (this.call.attrs.causal) rows(block);
    }
    if (!this.call.attrs.causal) for (const block of group.blocksOf(Tq)) rows(block);
  }

  /** Blocks in the order in which a state of rows grows, from the last one on. */
  backward(group: HeadGroup, { keys, rows }: Steps): void {
    const { Tq, Tk } = this.call.dims;
    const blocks = group.blocksOf(Tk).reverse();
    if (!this.call.attrs.causal) for (const block of group.blocksOf(Tq)) rows(block);
    for (const block of blocks) {
      if (this.call.attrs.causal) rows(block);
      keys(block);
    }
  }

  /**
   * Finds out what a group's keys and rows are.
   *
   * @param rowTensors those whose numbers must be finite in an ordinary row.
   * @param limitKeys makes the first keys of rows (`firstKeysProgram`) from those of the keys alone.
   */
  marks(
    { firstHead, heads }: HeadGroup,
    rowTensors: readonly string[],
    isGradient: boolean,
    limitKeys = (bounds: TexelBuffer): TexelBuffer => bounds,
  ): Marks {
    const { call } = this;
    const { Tq, Tk, D, Dv, batch, heads: all } = call.dims;
    const isCausal = Number(call.attrs.causal);
    const hasMask = call.has('keyMask');
    const keyFlags = this.call.buffer('keyFlags', heads * quads(Tk));
    const names = ['key', 'value', ...(hasMask ? ['keyMask'] : [])];
    const keySources = Object.fromEntries(names.map((name) => [name, call.input(name)]));
    const sizes = { firstHead, Tq, Tk, D, Dv, isCausal };
    call.run(keyFlagsProgram(hasMask), keySources, { ...sizes, headsPerBatch: all / batch }, { to: keyFlags });
    const keySegments = segmentsOf(Tk);
    const firstParts = this.call.buffer('firstParts', heads * keySegments);
    call.run(firstKeysProgram, { flags: keyFlags }, { Tk, segments: keySegments }, { to: firstParts });
    const firstKeys = this.call.buffer('firstKeys', heads);
    call.run(reduceProgram('min'), { parts: firstParts }, { segments: keySegments }, { to: firstKeys });
    const rowFlags = this.call.buffer('rowFlags', heads * quads(Tq));
    const rowSources = Object.fromEntries(rowTensors.map((name) => [name, call.input(name)]));
    const widths = rowTensors.map((name): [string, number] => [`${name}Width`, call.tensor(name).shape.at(-1) ?? 1]);
    call.run(
      rowFlagsProgram(rowTensors),
      { ...rowSources, bounds: limitKeys(firstKeys) },
      { ...sizes, ...Object.fromEntries(widths) },
      { to: rowFlags },
    );
    const keys = { T: Tk, shift: 0, flags: keyFlags };
    const rows = { T: Tq, shift: isCausal ? Tk - Tq : 0, flags: rowFlags };
    if (!isGradient) return { keys, rows, badBound: undefined };
    const segments = segmentsOf(Tq);
    const badParts = this.call.buffer('badParts', heads * segments);
    call.run(badBoundProgram, { flags: rowFlags }, { ...sizes, segments }, { to: badParts });
    const badBound = this.call.buffer('badBound', heads);
    call.run(reduceProgram('max'), { parts: badParts }, { segments }, { to: badBound });
    return { keys, rows, badBound };
  }

  /** Vectors of a tensor; `numbers` of each, after `map`, then a 1 where `hasOne`. */
  load(
    name: string,
    source: NumberTensor,
    entries: Entries,
    block: Block,
    { map, hasOne = false }: { map?: Parameters<typeof loadProgram>[0]; hasOne?: boolean } = {},
  ): Vectors {
    const { firstHead, heads, positions, first } = block;
    const numbers = source.info.shape.at(-1) ?? 1;
    const width = quads(numbers + Number(hasOne));
    const buffer = this.call.buffer(name, heads * positions * width);
    this.call.run(
      loadProgram(map, hasOne),
      { source, flags: entries.flags },
      { firstHead, T: entries.T, shift: entries.shift, numbers, width, positions, first },
      { to: buffer },
    );
    return { buffer, width };
  }

  /**
   * States from `sum_j left_j right_j^T`: in causal calls one before (`'before'`) or behind (`'behind'`) each chunk, then one
   * of all chunks; else the latter alone. The last one is the `carry` for the block that comes next.
   */
  states(
    name: string,
    { left, right }: { left: Vectors; right: Vectors },
    block: Block,
    order: 'before' | 'behind',
    carry?: States,
  ): States {
    const { chunk, chunks, heads } = block;
    const size = 4 * left.width * right.width;
    const sums = this.call.buffer('sums', heads * chunks * size);
    this.call.run(
      chunkSumsProgram,
      { lefts: left.buffer, rights: right.buffer },
      { left: left.width, right: right.width, chunk },
      { to: sums },
    );
    const isCausal = this.call.attrs.causal;
    const slots = isCausal ? chunks + 1 : 1;
    const [even, odd] = [`${name} even`, `${name} odd`];
    const own = carry && this.call.isNamed(carry.buffer, even) ? odd : even;
    const buffer = this.call.buffer(own, heads * slots * size);
    this.call.run(
      scanProgram(carry !== undefined),
      { sums, ...(carry && { carry: carry.buffer }) },
      {
        size,
        chunks,
        slots,
        firstSlot: isCausal ? 0 : chunks,
        isReverse: Number(order === 'behind'),
        ...(carry && { carrySlots: carry.slots }),
      },
      { to: buffer },
    );
    return { buffer, left: left.width, right: right.width, slots };
  }

  /** Products of pairs within chunks, of `a_p` with the `b_j` up to its position or, `'behind'`, from there on. */
  private pairs(a: Vectors, b: Vectors, block: Block, order: 'before' | 'behind'): TexelBuffer {
    const { heads, positions, chunk } = block;
    const pairs = this.call.buffer('pairs', (heads * positions * chunk) / 4);
    this.call.run(
      pairsProgram,
      { a: a.buffer, b: b.buffer },
      { width: a.width, chunk, isReverse: Number(order === 'behind') },
      { to: pairs },
    );
    return pairs;
  }

  /** `x S`, or `x S^T` with `isTransposed`, and in causal calls `sum_j (x.b_j) y_j` over the chunk's own positions. */
  product(
    name: string,
    x: Vectors,
    states: States,
    { b, y, order, onto, isTransposed = false }: PairTerms,
    block: Block,
  ): Vectors {
    const { heads, positions, chunk } = block;
    const { left, right, slots } = states;
    const hasPairs = this.call.attrs.causal;
    const width = isTransposed ? left : right;
    const shape: ProductShape = { isTransposed, hasPairs, ...(onto && { onto: onto.sign }) };
    const pairs = hasPairs && { pairs: this.pairs(x, b, block, order), y: y.buffer };
    const to = this.call.buffer(name, heads * positions * width);
    this.call.run(
      productProgram(shape),
      { x: x.buffer, states: states.buffer, ...pairs, ...(onto && { previous: onto.vectors.buffer }) },
      { left, right, positions, slots, ...(hasPairs && { chunk }) },
      { to },
    );
    return { buffer: to, width };
  }

  /** Writes vectors to the entries of a tensor that are in a block. */
  store(
    to: NumberTensor,
    values: Vectors,
    entries: Entries,
    block: Block,
    { badBound, finish, sources = {}, params = {} }: StoreOptions = {},
  ): void {
    const { firstHead, heads, positions, first } = block;
    const numbers = to.info.shape.at(-1) ?? 1;
    const { T, shift, flags } = entries;
    const range = entriesOf(block, entries);
    if (range.count === 0) return;
    this.call.run(
      storeProgram(badBound !== undefined, finish),
      { flags, values: values.buffer, ...(badBound && { badBound }), ...sources },
      { firstHead, heads, T, numbers, width: values.width, positions, first, shift, ...params },
      { to, first: (firstHead * T + range.first) * numbers, count: range.count * numbers },
    );
  }
}

/** What the memory of a call is made of. */
interface Sizes {
  readonly vectors: number;
  readonly states: number;
  readonly left: number;
  readonly right: number;
}

/** What a pass over the blocks does with the keys and with the rows of one. */
interface Steps {
  readonly keys: (block: Block) => void;
  readonly rows: (block: Block) => void;
}

/** What a product has besides the state. */
export interface PairTerms {
  /** Whether the product is with the transposed states. */
  readonly isTransposed?: boolean;
  readonly b: Vectors;
  readonly y: Vectors;
  readonly order: 'before' | 'behind';
  readonly onto?: { readonly sign: '+' | '-'; readonly vectors: Vectors };
}

interface StoreOptions {
  /** For gradients of keys. */
  readonly badBound?: TexelBuffer | undefined;
  readonly finish?: Finish;
  readonly sources?: Readonly<Record<string, TexelBuffer>>;
  readonly params?: Readonly<Record<string, number>>;
}

/**
 * The entries of a block, counted through its heads: all of every head, or a part of a single one. The first block has
 * those before all positions too, which see nothing.
 */
export function entriesOf(
  { heads, first, positions }: Block,
  { T, shift }: Pick<Entries, 'T' | 'shift'>,
): { first: number; count: number } {
  const from = first === 0 ? 0 : Math.min(T, Math.max(0, first - shift));
  const to = Math.min(T, Math.max(0, first + positions - shift));
  const isWhole = from === 0 && to === T;
  if (heads > 1 && !isWhole) throw new Error(`a block of ${heads} heads holds entries ${from} to ${to} of ${T}`);
  return { first: from, count: isWhole ? heads * T : to - from };
}
