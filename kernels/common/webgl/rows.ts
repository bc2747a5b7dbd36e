import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import { type RowBlock, tilesOf } from './blocks.js';
import type { FlatTensor, Region, WebGlCall } from './call.js';
import type { Image } from './device.js';
import type { Keys } from './keys.js';
import { rowInfoShader, rowTilesShader } from './prepare.glsl.js';
import {
  centredProductsShader,
  productsShader,
  weightedMeanShader,
  weightedShader,
  weightedSumShader,
} from './products.glsl.js';
import { storeShader } from './store.glsl.js';
import { rowStatsShader, scoresShader, weightsShader } from './weights.glsl.js';

type Call = WebGlCall<SoftmaxAttentionAttrs>;

/** A block of query rows with its weights, and draws on it. */
export class Rows {
  readonly tiles: number;
  /** Queries times the scale. */
  readonly query: Image;
  /** See `rowInfoShader`. */
  readonly info: Image;
  /** See `rowStatsShader`. */
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
    };
    this.query = this.tensorRows('query', tilesOf(D), call.attrs.scale);
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

  /** A matrix of the block's rows, `width` tiles wide. */
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

  /** `weights x matrix`, for a matrix with a row per key. */
  weightedSum(weights: Image, matrix: Image): Image {
    const sums = this.image(matrix.width);
    this.call.run(weightedSumShader, { weights, keys: matrix }, this.params, sums);
    return sums;
  }

  /** Products of rows with the values, `width` tiles of columns, into a matrix of rows and keys. */
  valueProducts(rows: Image, into: Image): void {
    const images = { rows, keys: this.keys.value };
    this.call.run(productsShader, images, { ...this.params, inner: rows.width }, into, this.seen);
  }

  /** Products `x . (k - kbar)` of rows with the keys. */
  keyProducts(rows: Image, kbar: Image, into: Image): void {
    const inner = tilesOf(this.call.dims.D);
    const images = { rows, keys: this.keys.key, kbar };
    this.call.run(centredProductsShader, images, { ...this.params, inner }, into, this.seen);
  }

  /** Weighted means of products, one a row. */
  means(products: Image): Image {
    const means = this.image(1);
    this.call.run(weightedMeanShader, { weights: this.weights, products }, this.params, means);
    return means;
  }

  /** `p (products - their weighted mean + added)`; gives the means back. */
  weighted(products: Image, added: number, into: Image): void {
    const means = this.means(products);
    this.call.run(weightedShader, { weights: this.weights, products, means }, { added }, into, this.seen);
    this.give(means);
  }

  /** Writes the block's rows of an output, `C` numbers each. */
  store(source: Image, out: FlatTensor, C: number, { factor = 1, isVector = false } = {}): void {
    const { firstHead, heads, start, end, rowTiles } = this.block;
    storeRows(
      this.call,
      { source, marks: this.stats, out, factor, isVector },
      { T: this.call.dims.Tq, C, tiles: rowTiles, firstHead, heads, start, end },
    );
  }

  release(): void {
    this.give(...this.images);
  }
}

/** Rows of a tensor `[heads, T, C]` that stand in tiles. */
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

/** What `storeShader` is given. */
export interface Stored {
  readonly source: Image;
  readonly marks: Image;
  readonly out: FlatTensor;
  readonly factor?: number;
  readonly isVector?: boolean;
}

export function storeRows(
  call: Call,
  { source, marks, out, factor = 1, isVector = false }: Stored,
  { T, C, tiles, firstHead, heads, start, end }: StoredRows,
): void {
  const isWhole = start === 0 && end === T;
  const { width } = out;
  const params = { T, C, tiles, firstHead, start, width, factor, isVector: Number(isVector) };
  // Rows of one head, and of several if all of them are stored, stand one behind the other.
  for (let head = 0; head < (isWhole ? 1 : heads); head++) {
    const first = ((firstHead + head) * T + start) * C;
    const last = isWhole ? first + heads * T * C : first + (end - start) * C;
    const y = Math.floor(first / width);
    const height = Math.floor((last - 1) / width) - y + 1;
    call.run(storeShader, { source, marks }, { ...params, first, last }, out, { width, height, y });
  }
}
