import { sha256 } from '@noble/hashes/sha2.js';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Numbers that look random and follow from names and numbers alone, so that there is no state to save. */
export class Random {
  private readonly generator: ReturnType<typeof xoroshiro128plus>;
  private spare: number | undefined;

  /** @param parts What the numbers follow from, such as a seed, a purpose and a step. */
  constructor(...parts: readonly (number | string)[]) {
    // Not Node's own digest: a page trains, too.
    const digest = sha256(new TextEncoder().encode(JSON.stringify(parts)));
    this.generator = xoroshiro128plus(new DataView(digest.buffer, digest.byteOffset).getInt32(0, true));
  }

  /** In `[0, 1)`. */
  uniform(): number {
    return (this.generator.next() >>> 0) / 2 ** 32;
  }

  /** A whole number in `[0, below)`. */
  integer(below: number): number {
    return Math.floor(this.uniform() * below);
  }

  /** Standard normal, by Box and Muller. */
  normal(): number {
    const { spare } = this;
    if (spare !== undefined) {
      this.spare = undefined;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  normals(count: number): Float32Array {
    return Float32Array.from({ length: count }, () => this.normal());
  }

  /** `values` in another order, in place. */
  shuffle<Values extends { [index: number]: number; readonly length: number }>(values: Values): Values {
    for (let i = values.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [values[i], values[j]] = [values[j], values[i]];
    }
    return values;
  }
}
