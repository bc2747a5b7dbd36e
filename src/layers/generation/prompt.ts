import type { Tensor } from '@tensorflow/tfjs-core';

import { printed, reject } from '../../../kernels/common/validate.js';
import { isTensor } from '../inputs.js';

/** Token ids of one sequence, or of several that may differ in length: arrays, or a tensor `[T]` or `[B, T]`. */
export type Prompt = readonly number[] | readonly (readonly number[])[] | Tensor;

/** Prompts of equal length: shorter ones are padded at their left, so that all of them end together. */
export interface Batch {
  /** `[B, length]`, row-major; 0 where a prompt is padded. */
  readonly ids: Int32Array;
  readonly length: number;
  /** Number of padded tokens of each prompt. */
  readonly padding: readonly number[];
}

function checkRow(row: unknown, name: string, size: number | undefined): asserts row is readonly number[] {
  if (!Array.isArray(row)) reject('generate', name, `must be an array of token ids, got ${printed(row)}`);
  if (row.length === 0) reject('generate', name, 'is empty; it must have at least one token');
  row.forEach((id: unknown, i) => {
    const known = typeof id === 'number' && Number.isSafeInteger(id) && id >= 0 && id < (size ?? Infinity);
    if (known) return;
    const range = size === undefined ? 'a whole number from 0 on' : `one of 0 .. ${size - 1}, which the embedding has`;
    reject('generate', `${name}[${i}]`, `must be ${range}, got ${printed(id)}`);
  });
}

/** A prompt as a list of sequences, and whether it was a single one. */
export async function readPrompt(
  prompt: unknown,
  vocabulary: number | undefined,
): Promise<{ rows: (readonly number[])[]; single: boolean }> {
  const given = isTensor(prompt) ? await fromTensor(prompt) : prompt;
  if (!Array.isArray(given)) {
    reject('generate', 'prompt', `must be an array of token ids, several of them or a tensor, got ${printed(given)}`);
  }
  const list: unknown[] = given;
  const single = !list.some(Array.isArray);
  const rows = single ? [list] : list;
  rows.forEach((row, b) => {
    checkRow(row, single ? 'prompt' : `prompt[${b}]`, vocabulary);
  });
  return { rows: rows as (readonly number[])[], single };
}

async function fromTensor(prompt: Tensor): Promise<number[] | number[][]> {
  const { shape, dtype } = prompt;
  const shown = `[${shape.join(', ')}]`;
  if (prompt.isDisposed) reject('generate', 'prompt', `is a disposed tensor, shape ${shown}`);
  if (shape.length !== 1 && shape.length !== 2) {
    reject('generate', 'prompt', `must have shape [T] or [B, T], got ${shown}`);
  }
  if (dtype !== 'int32' && dtype !== 'float32') {
    reject('generate', 'prompt', `must have dtype int32 or float32, got ${dtype}`);
  }
  const ids = Array.from(await prompt.data());
  if (shape.length === 1) return ids;
  const [B, T] = shape;
  return Array.from({ length: B }, (_, b) => ids.slice(b * T, (b + 1) * T));
}

/** Pads prompts to one length. */
export function padPrompts(rows: readonly (readonly number[])[]): Batch {
  const length = Math.max(...rows.map((row) => row.length));
  const padding = rows.map((row) => length - row.length);
  const ids = new Int32Array(rows.length * length);
  rows.forEach((row, b) => {
    ids.set(row, b * length + padding[b]);
  });
  return { ids, length, padding };
}
