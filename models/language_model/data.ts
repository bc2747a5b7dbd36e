/** From a text to batches of bytes; nothing here touches a file. */
import { createHash } from 'node:crypto';
import * as tf from '@tensorflow/tfjs-core';
import { InputError } from '../common/input_error.js';
import type { Random } from '../trainer/random.js';

/** Number of different tokens: every byte is one. */
export const VOCABULARY = 256;

export interface Text {
  /** For messages and headings. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A text cut in two, so that a loss can be measured on what the model has not seen. */
export interface Corpus extends Text {
  /** The first nine tenths. */
  readonly training: Uint8Array;
  /** The rest. */
  readonly heldOut: Uint8Array;
}

/** Share of a text that is held out: its end, so that no sentence is on both sides. */
const HELD_OUT = 0.1;

/** Throws where training or held-out text would be shorter than one window and the byte after it. */
export function corpusOf({ name, bytes }: Text, context: number): Corpus {
  const cut = Math.floor(bytes.length * (1 - HELD_OUT));
  const [training, heldOut] = [bytes.subarray(0, cut), bytes.subarray(cut)];
  if (heldOut.length <= context) {
    throw new InputError(
      `${name}: ${bytes.length} bytes are too few for a context of ${context}: ` +
        `the last tenth, which is held out, must be longer than the context (at least ${10 * (context + 1)} bytes in all)`,
    );
  }
  return { name, bytes, training, heldOut };
}

/** A number that tells texts apart: the first 32 bits of the SHA-256 of the bytes. */
export const digestOf = ({ bytes }: Text): number => createHash('sha256').update(bytes).digest().readUInt32BE();

/** Bytes and, for each of them, the byte that follows it: int32 `[windows, context]` both. */
export interface Windows {
  readonly inputs: tf.Tensor2D;
  readonly targets: tf.Tensor2D;
}

/** The windows of `bytes` that begin at `starts`. */
export function windowsAt(bytes: Uint8Array, starts: readonly number[], context: number): Windows {
  const cut = (shift: number): tf.Tensor2D => {
    const ids = new Int32Array(starts.length * context);
    for (const [row, start] of starts.entries()) {
      ids.set(bytes.subarray(start + shift, start + shift + context), row * context);
    }
    return tf.tensor2d(ids, [starts.length, context], 'int32');
  };
  return { inputs: cut(0), targets: cut(1) };
}

/** Windows that begin anywhere in the text. */
export function randomWindows(bytes: Uint8Array, count: number, context: number, random: Random): Windows {
  const starts = Array.from({ length: count }, () => random.integer(bytes.length - context));
  return windowsAt(bytes, starts, context);
}

/** Where windows begin that lie one behind the other; what is left at the end is too short for one. */
export function startsOf(bytes: Uint8Array, context: number): number[] {
  return Array.from({ length: Math.floor((bytes.length - 1) / context) }, (_, index) => index * context);
}
