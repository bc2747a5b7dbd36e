/** Makes safetensors files by hand, right ones and wrong ones, and reads them in the plainest way. */
import * as tf from '@tensorflow/tfjs-core';

export interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly number[];
}

/** A file of a header's text, with the length that belongs to it or another, and data. */
export function fileOf(header: string, data: Uint8Array, length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + text.length + data.length);
  new DataView(file.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  file.set(text, 8);
  file.set(data, 8 + text.length);
  return file;
}

export const float32Bytes = (values: readonly number[]): Uint8Array => new Uint8Array(new Float32Array(values).buffer);

/** A file of float32 tensors, in the order given. */
export function float32File(tensors: Readonly<Record<string, { shape: readonly number[]; values: number[] }>>) {
  const header: Record<string, Entry> = {};
  const all: number[] = [];
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    const begin = 4 * all.length;
    all.push(...values);
    header[name] = { dtype: 'F32', shape, data_offsets: [begin, 4 * all.length] };
  }
  return fileOf(JSON.stringify(header), float32Bytes(all));
}

/** Reads the header and the float32 tensors of a file that is known to be right. */
export function readFile(file: Uint8Array): { header: Record<string, Entry>; values: (name: string) => number[] } {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, start))) as Record<string, Entry>;
  const values = (name: string) => {
    const [begin, end] = header[name].data_offsets;
    return Array.from({ length: (end - begin) / 4 }, (_, i) => view.getFloat32(start + begin + 4 * i, true));
  };
  return { header, values };
}

/** A stream of a file in pieces of the given sizes, which repeat; it knows whether it was read to its end or let go. */
export function streamOf(file: Uint8Array, sizes: readonly number[] = [7]) {
  let at = 0;
  let turn = 0;
  const stream = {
    isOpen: true,
    [Symbol.asyncIterator]: () => stream,
    next() {
      if (at >= file.length) return stream.return();
      const end = at + sizes[turn++ % sizes.length];
      const value = file.slice(at, end);
      at = end;
      return Promise.resolve({ done: false as const, value });
    },
    return() {
      stream.isOpen = false;
      return Promise.resolve({ done: true as const, value: undefined });
    },
  };
  return stream;
}

/** A model of variables of the given shapes, filled with 1, 2, 3, and so on. */
export function variables(shapes: Readonly<Record<string, number[]>>, dtype: 'float32' | 'int32' = 'float32') {
  const weights = Object.entries(shapes).map(([name, shape]) => {
    const size = shape.reduce((product, length) => product * length, 1);
    const values = Array.from({ length: size }, (_, index) => index + 1);
    // Variables of one name cannot live side by side, so each is known to tfjs under a name of its own.
    const variable = tf.tidy(() => tf.variable(tf.tensor(values, shape, dtype), true, undefined, dtype));
    variable.name = name;
    return variable;
  });
  return { weights, dispose: () => tf.dispose(weights) };
}

/** All values of a model's weights. */
export function valuesOf(model: { weights: readonly tf.Tensor[] }): number[][] {
  return model.weights.map((weight) => [...weight.dataSync()]);
}

/** What a rejected promise says. */
export const messageOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error as Error).message,
  );
