import {
  add,
  concat,
  customGrad,
  engine,
  type GradSaveFunc,
  mul,
  reshape,
  reverse,
  slice,
  type Tensor,
  tensor,
} from '@tensorflow/tfjs-core';

import { hasKernelFor } from '../registry.js';
import { isPositiveNumber, type OptionCheck, printed, reject } from '../../kernels/common/validate.js';

/** Rotary position embedding. */
export interface RotaryArgs {
  /** The pair of channels `i` turns by `base^(-2 i / n)` per position, `n` the number of rotated channels. Default 10000. */
  base?: number;
  /** Share of a head's channels, from the first one on, that is rotated, in `(0, 1]`. Default 1. */
  fraction?: number;
}

export const isRotary: OptionCheck = (layer, argument, value) => {
  if (typeof value === 'boolean') return;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    reject(layer, argument, `must be true, false or { base, fraction }, got ${printed(value)}`);
  }
  for (const [name, number] of Object.entries(value)) {
    if (name !== 'base' && name !== 'fraction') {
      reject(layer, argument, `has no field ${name}; it has base, fraction`);
    }
    if (number !== undefined && number !== null) isPositiveNumber(layer, `${argument}.${name}`, number);
  }
  const { fraction } = value as RotaryArgs;
  if (typeof fraction === 'number' && fraction > 1) {
    reject(layer, `${argument}.fraction`, `must be in (0, 1], got ${fraction}`);
  }
};

/** Rotates channels by angles that grow with the position, so that scores depend on differences of positions only. */
export class Rotary {
  private readonly base: number;
  private readonly fraction: number;
  /** Number of channels that are rotated; even. */
  private readonly rotated: number;

  /** The layer's argument `rotary`, which `isRotary` has checked, as what it asks for. */
  static of(label: string, rotary: boolean | RotaryArgs | undefined, keyDim: number): Rotary | undefined {
    if (rotary === undefined || rotary === false) return undefined;
    return new Rotary(label, rotary === true ? {} : rotary, keyDim);
  }

  /** Throws where the arguments rotate no whole pairs of the `keyDim` channels. */
  private constructor(label: string, args: RotaryArgs, keyDim: number) {
    this.base = args.base ?? 10000;
    this.fraction = args.fraction ?? 1;
    // Rounded against products such as 0.7 * 10 = 7 - 1e-15.
    this.rotated = Math.floor(keyDim * this.fraction + 1e-9);
    if (this.rotated === 0 || this.rotated % 2 !== 0) {
      const share = `keyDim * fraction = ${keyDim} * ${this.fraction}`;
      reject(label, 'rotary', `must rotate an even number of channels, at least 2; ${share} gives ${this.rotated}`);
    }
  }

  /** The layer's argument that makes this. */
  get config(): { base: number; fraction: number } {
    return { base: this.base, fraction: this.fraction };
  }

  /**
   * `x [B, H, T, D]`, whose first token has position `first`, one for all sequences or one for each, rotated.
   *
   * Channel `i` of the first half of those that are rotated is paired with channel `i` of the second half
   * (`rotate_half`, as in GPT-NeoX and Llama; RoFormer, arXiv 2104.09864, pairs neighbours).
   */
  apply(x: Tensor, first: number | readonly number[] = 0): Tensor {
    const [B, H, T, D] = x.shape;
    const { rotated } = this;
    const starts = typeof first === 'number' ? [first] : first;
    const part = (from: number, size: number) => slice(x, [0, 0, 0, from], [B, H, T, size]);
    const turned = turn(rotated === D ? x : part(0, rotated), this.waves(starts, T));
    return rotated === D ? turned : concat([turned, part(rotated, D - rotated)], -1);
  }

  /** Cosines and sines for `T` tokens from each start, `[starts, 1, T, rotated]` both. */
  private waves(starts: readonly number[], T: number): Waves {
    const { rotated, base } = this;
    const key = [base, rotated, T, ...starts].join(' ');
    const tables = recentTables.get(key) ?? waveTables(starts, T, rotated, base);
    recentTables.delete(key);
    recentTables.set(key, tables);
    if (recentTables.size > MOST_TABLES) recentTables.delete([...recentTables.keys()][0]);
    const [cos, sin] = tables.map((table) => tensor(table, [starts.length, 1, T, rotated]));
    return [cos, sin];
  }
}

type WaveTables = readonly [cos: Float32Array, sin: Float32Array];

/**
 * Those used last. All layers of a model ask for the same ones, at every step of a training; to compute them takes the
 * host longer than all else of a small model's step. Kept as numbers, since a tensor would count as a leak.
 */
const recentTables = new Map<string, WaveTables>();
const MOST_TABLES = 4;

function waveTables(starts: readonly number[], T: number, rotated: number, base: number): WaveTables {
  const half = rotated / 2;
  const size = starts.length * T * rotated;
  const [cos, sin] = [new Float32Array(size), new Float32Array(size)];
  const speeds = Array.from({ length: half }, (_, channel) => base ** (-channel / half));
  for (let at = 0; at < size; at += rotated) {
    const row = at / rotated;
    const position = starts[Math.floor(row / T)] + (row % T);
    for (const [channel, speed] of speeds.entries()) {
      // In float64: a float32 angle would lose a digit with every factor of ten in the position.
      const angle = position * speed;
      cos[at + channel] = cos[at + half + channel] = Math.cos(angle);
      sin[at + half + channel] = Math.sin(angle);
      sin[at + channel] = -sin[at + half + channel];
    }
  }
  return [cos, sin];
}

/** Cosines; sines, negative in the first half. */
type Waves = readonly [cos: Tensor, sin: Tensor];

/** Exchanges the halves of the last axis. */
function exchangeHalves(x: Tensor): Tensor {
  const D = x.shape[x.rank - 1];
  return reshape(reverse(reshape(x, [-1, 2, D / 2]), 1), x.shape);
}

/** The kernel of a backend that has one: `x`, `cos`, `sin` to the rotated `x`, or rotated back at `direction` -1. */
const KERNEL = 'RotaryEmbedding';

/**
 * `x cos + exchanged(x) sin`. Its gradient is the rotation back, `dy cos + exchanged(dy sin)`: as few kernels as the
 * rotation itself, where that of slices and a concatenation would take three times as many.
 */
function turn(x: Tensor, waves: Waves): Tensor {
  const hasKernel = hasKernelFor(KERNEL, x);
  const rotate = (x: Tensor, [cos, sin]: Waves, direction: 1 | -1): Tensor => {
    if (hasKernel) return engine().runKernel<Tensor>(KERNEL, { x, cos, sin }, { direction });
    if (direction === 1) return add(mul(x, cos), mul(exchangeHalves(x), sin));
    return add(mul(x, cos), exchangeHalves(mul(x, sin)));
  };
  const forward = (...given: (Tensor | GradSaveFunc)[]) => {
    const [x, save] = given as [Tensor, GradSaveFunc];
    save([...waves]);
    const gradFunc = (dy: Tensor, [cos, sin]: Tensor[]) => rotate(dy, [cos, sin], -1);
    return { value: rotate(x, waves, 1), gradFunc };
  };
  return customGrad(forward)(x);
}
