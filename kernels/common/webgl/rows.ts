import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import { type RowBlock, tilesOf } from './blocks.js';
import type { FlatTensor, Region, WebGlCall } from './call.js';
import type { Image } from './device.js';
import type { Keys } from './keys.js';
import { rowInfoShader, rowTilesShader } from './prepare.glsl.js';
import { weightedSumShader } from './products.glsl.js';
import { storeShader } from './store.glsl.js';
import { rowStatsShader, scoresShader, weightsShader } from './weights.glsl.js';

type Call = WebGlCall<SoftmaxAttentionAttrs>;

/** A block of query rows with its weights, and draws on it. */
export class Rows {
  readonly tiles: number;
  readonly query: Image;
  readonly info: Image;
  /** See \`rowStatsShader\`. */
  readonly stats: Image;
  readonly weights: Image;
  /** Parameters of every draw. */
  readonly params: Readonly<Record<string, number>>;
  private readonly images: Image[] = [];

  constructor(
    readonly call: Call,
    readonly keys: Keys,
    readonly block: RowBlock,
    ridgeNumber = 1,
  ) {
    const { Tq, Tk, D, Dv } = call.dims;
    const { firstHead, start, end, rowTiles } = block;
    this.tiles = block.heads * rowTiles;
    this.params = {
      firstHead,
      start,
      end,
      rowTiles,
      keyTiles: keys.keyTiles,
      Tq,
      Tk,
      offset: Tk - Tq,
      causal: Number(call.attrs.causal),
      scale: call.attrs.scale,
    };
    this.query = this.tensorRows('query', tilesOf(D));
    const query = call.input('query');
    const optional = (name: string) => (call.has(name) ? call.input(name) : query);
    this.info = this.image(1);
    const widths = {
      D,
      doutWidth: call.has('dout') ? Dv : 0,
      probeWidth: call.has('probe') ? D : 0,
      hasRidge: Number(call.has('ridge')),
      ridgeNumber,
    };
    const tensors = { query, dout: optional('dout'), probe: optional('probe'), ridge: optional('ridge') };
    call.run(rowInfoShader, tensors, { ...this.params, ...widths }, this.info);
    const scores = this.image(keys.keyTiles);
    call.run(
      scoresShader,
      { rows: this.query, keys: keys.key, keyInfo: keys.info },
      { ...this.params, inner: tilesOf(D) },
      scores,
      this.seen,
    );
    this.stats = this.image(1);
    call.run(rowStatsShader, { scores, keyInfo: keys.info, rowInfo: this.info }, this.params, this.stats);
    this.weights = this.image(keys.keyTiles);
    call.run(weightsShader, { scores, rowStats: this.stats }, this.params, this.weights, this.seen);
    this.give(scores);
  }

  /** What the block's rows see of a matrix of rows and keys. */
  get seen(): Region {
    return { width: this.block.seenTiles, height: this.tiles };
  }

  /** A matrix of the block's rows, \`width\` tiles wide. */
  image(width: number): Image {
    const image = this.call.image(`${this.block.end - this.block.start} rows`, width, this.tiles);
    this.images.push(image);
    return image;
  }

  /** Gives matrices back before the block is done. */
  give(...images: Image[]): void {
    this.call.release(...images);
  }

  /** The block's rows of an input times a factor. */
  tensorRows(name: string, width: number, factor = 1): Image {
    const rows = this.image(width);
    const [C] = this.call.tensor(name).shape.slice(-1);
    this.call.run(rowTilesShader, { source: this.call.input(name) }, { ...this.params, C, factor }, rows);
    return rows;
  }

  /** Sums over keys of rows of \`keys\`, \`width\` tiles wide, times \`weights\`. */
  weightedSum(weights: Image, keys: Image): Image {
    const sums = this.image(keys.width);
    this.call.run(weightedSumShader, { weights, keys }, this.params, sums);
    return sums;
  }

  /** Writes the block's rows of an output, \`C\` numbers each. */
  store(source: Image, out: FlatTensor, C: number, factor = 1): void {
    const { firstHead, heads, start, end, rowTiles } = this.block;
    storeRows(
      this.call,
      { source, marks: this.stats, out, factor },
      { T: this.call.dims.Tq, C, tiles: rowTiles, firstHead, heads, start, end },
    );
  }

  release(): void {
    this.give(...this.images);
  }
}

/** Rows of a tensor \`[heads, T, C]\` that stand in tiles. */
export interface StoredRows {
  readonly T: number;
  readonly C: number;
  /** Tiles of rows of one head. */
  readonly tiles: number;
  readonly firstHead: number;
  readonly heads: number;
  readonly start: number;
  readonly end: number;
}

export function storeRows(
  call: Call,
  { source, marks, out, factor = 1 }: { source: Image; marks: Image; out: FlatTensor; factor?: number },
  { T, C, tiles, firstHead, heads, start, end }: StoredRows,
): void {
  const isWhole = start === 0 && end === T;
  const { width } = out;
  const params = { T, C, tiles, firstHead, start, width, factor };
  // Rows of one head, and of several if all of them are stored, stand one behind the other.
  for (let head = 0; head < (isWhole ? 1 : heads); head++) {
    const first = ((firstHead + head) * T + start) * C;
    const last = isWhole ? first + heads * T * C : first + (end - start) * C;
    const y = Math.floor(first / width);
    const height = Math.floor((last - 1) / width) - y + 1;
    call.run(storeShader, { source, marks }, { ...params, first, last }, out, { width, height, y });
  }
}
