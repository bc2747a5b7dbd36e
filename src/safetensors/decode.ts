/** Turns the bytes of a tensor into a weight's values while they arrive. */
import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import type { NumberFormat } from './dtypes.js';
import type { MappedWeight } from './mapping.js';
import { Places } from './place.js';

/** One weight on its way from the file. */
export class Decoder {
  readonly mapped: MappedWeight;
  /** First byte of the weight and the byte after its last one, from the end of the header. */
  readonly begin: number;
  readonly end: number;
  readonly #format: NumberFormat;
  readonly #places: Places;
  readonly #split: DataView;
  #splitBytes = 0;
  #values: Float32Array | Int32Array | undefined;

  constructor(mapped: MappedWeight, tensorBegin: number, format: NumberFormat) {
    const size = mapped.partShape.reduce((product, length) => product * length, format.bytes);
    this.mapped = mapped;
    this.begin = tensorBegin + mapped.part.index * size;
    this.end = this.begin + size;
    this.#format = format;
    this.#places = new Places(mapped.weight.shape, mapped.order);
    this.#split = new DataView(new ArrayBuffer(format.bytes));
  }

  /** Takes the next bytes, in pieces of any size; `onOverflow` is called for a number that float32 cannot hold. */
  feed(bytes: Uint8Array, onOverflow: (value: number) => never): void {
    const { bytes: width, read } = this.#format;
    const values = this.#allocated();
    const places = this.#places;
    const put = (value: number) => {
      const place = places.next();
      values[place] = value;
      if (!Number.isFinite(values[place]) && Number.isFinite(value)) onOverflow(value);
    };
    let at = 0;
    // A value whose bytes are in two pieces.
    while (this.#splitBytes > 0 && at < bytes.length) {
      this.#split.setUint8(this.#splitBytes++, bytes[at++]);
      if (this.#splitBytes < width) continue;
      put(read(this.#split, 0));
      this.#splitBytes = 0;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (; at + width <= bytes.length; at += width) put(read(view, at));
    while (at < bytes.length) this.#split.setUint8(this.#splitBytes++, bytes[at++]);
  }

  /** The weight's new value, once all its bytes were fed. */
  tensor(): Tensor {
    const { shape } = this.mapped.weight;
    return tensor(this.#allocated(), [...shape], this.#format.weight);
  }

  /** Room for the values, which is as large as the weight itself, and taken when its first bytes arrive. */
  #allocated(): Float32Array | Int32Array {
    const size = (this.end - this.begin) / this.#format.bytes;
    this.#values ??= this.#format.weight === 'int32' ? new Int32Array(size) : new Float32Array(size);
    return this.#values;
  }
}
