/** Walks through a weight in the order in which the file has its values. */

/**
 * Where the values of a tensor in the file lie in the weight: a step from one value of the file to the next.
 *
 * Both are row-major. The counter runs over the weight's axes in the file's order, so that no table as large as the
 * weight is needed.
 */
export class Places {
  readonly #sizes: readonly number[];
  readonly #strides: readonly number[];
  readonly #counter: number[];
  #place = 0;

  /** @param order the weight's axes in the file's order */
  constructor(shape: readonly number[], order: readonly number[]) {
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
    this.#sizes = order.map((axis) => shape[axis]);
    this.#strides = order.map((axis) => strides[axis]);
    this.#counter = order.map(() => 0);
  }

  /** The place of the next value. */
  next(): number {
    const place = this.#place;
    for (let axis = this.#counter.length - 1; axis >= 0; axis--) {
      this.#place += this.#strides[axis];
      if (++this.#counter[axis] < this.#sizes[axis]) break;
      this.#place -= this.#strides[axis] * this.#sizes[axis];
      this.#counter[axis] = 0;
    }
    return place;
  }
}
