import { sizeOf } from './values.js';
import type { Values } from './values.js';

/** A repeatable stream of numbers (mulberry32 and Box-Muller). */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0;
  }

  /** Uniform in `[0, 1)`. */
  uniform(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** Standard normal, as float32. */
  normal(): number {
    return Math.fround(Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform()));
  }

  /** Normal values of a shape, `mean + deviation * z`. */
  normals(shape: readonly number[], deviation = 1, mean = 0): Values {
    return { shape, data: Float32Array.from({ length: sizeOf(shape) }, () => mean + deviation * this.normal()) };
  }

  /** Values of a shape whose logarithms are uniform between those of two bounds. */
  logUniform(shape: readonly number[], low: number, high: number): Values {
    const draw = () => low * (high / low) ** this.uniform();
    return { shape, data: Float32Array.from({ length: sizeOf(shape) }, draw) };
  }

  /** Zeros and ones of a shape, a one with the given probability. */
  mask(shape: readonly number[], probability: number): Values {
    const draw = () => (this.uniform() < probability ? 1 : 0);
    return { shape, data: Float32Array.from({ length: sizeOf(shape) }, draw) };
  }
}
