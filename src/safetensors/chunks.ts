/** Reads a stream of byte pieces of any sizes, one after the other. */
const NOTHING = new Uint8Array();

export class Chunks {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = NOTHING;

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#iterator = pieces[Symbol.asyncIterator]();
  }

  /** The next piece, or `undefined` at the end. */
  async next(): Promise<Uint8Array | undefined> {
    if (this.#rest.length > 0) {
      const piece = this.#rest;
      this.#rest = NOTHING;
      return piece;
    }
    for (;;) {
      const result = await this.#iterator.next();
      if (result.done === true) return undefined;
      if (result.value.length > 0) return result.value;
    }
  }

  /** The next `count` bytes, or what there is of them. Memory grows with the bytes that arrive, not with `count`. */
  async take(count: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    let size = 0;
    while (size < count) {
      const piece = await this.next();
      if (piece === undefined) break;
      pieces.push(piece.subarray(0, count - size));
      this.#rest = piece.subarray(count - size);
      size += pieces[pieces.length - 1].length;
    }
    const taken = new Uint8Array(size);
    let at = 0;
    for (const piece of pieces) {
      taken.set(piece, at);
      at += piece.length;
    }
    return taken;
  }

  /** Lets go of the stream. */
  async close(): Promise<void> {
    await this.#iterator.return?.();
  }
}
