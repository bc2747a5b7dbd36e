import type { AttentionAttrs } from '../../spec.js';
import { eliminateProgram, pivotLinesProgram } from './eliminate.glsl.js';
import type { TexelBuffer, TexelCall } from './call.js';

/** Floats of the systems that are eliminated together, before and after a step: 16 MiB. */
const SYSTEM_FLOATS = 2 ** 22;

/** Bounds below which no pivot is: see `pivotLinesProgram`. */
export interface Least {
  readonly buffer: TexelBuffer;
  readonly perLeast: number;
  readonly stride: number;
}

/** Where the solutions go: behind those of earlier systems of the same kind. */
export interface Destination {
  readonly buffer: TexelBuffer;
  readonly start: number;
}

/** Systems of `width` texels a line, `left` of them the matrix, that fit into the memory for them. */
export function mostSystems(left: number, width: number): number {
  return Math.max(1, Math.floor(SYSTEM_FLOATS / (2 * 16 * left * width)));
}

/** A buffer for systems that are to be eliminated. */
export function systemsBuffer<Attrs extends AttentionAttrs>(call: TexelCall<Attrs>, texels: number): TexelBuffer {
  return call.buffer('systems even', texels);
}

/**
 * Solves `systems [n, 4 left, width]`, the first of which is number `from`: what follows the matrix in each line becomes the
 * solution, `[n, 4 left, width - left]`.
 */
export function eliminate<Attrs extends AttentionAttrs>(
  call: TexelCall<Attrs>,
  { buffer, n, left, width, from }: { buffer: TexelBuffer; n: number; left: number; width: number; from: number },
  least: Least,
  to?: Destination,
): TexelBuffer {
  let systems = buffer;
  for (let step = 0; step < left; step++) {
    const sizes = { left, width: width - step, step };
    const pivotLines = call.buffer('pivotLines', n * 4 * (width - step - 1));
    const { perLeast, stride } = least;
    call.run(
      pivotLinesProgram,
      { systems, least: least.buffer },
      { ...sizes, from, perLeast, stride },
      { to: pivotLines },
    );
    const count = n * 4 * left * (width - step - 1);
    const own = step === left - 1 ? to : undefined;
    const next = own?.buffer ?? call.buffer(step % 2 === 0 ? 'systems odd' : 'systems even', count);
    const start = own?.start ?? 0;
    call.run(eliminateProgram, { systems, pivotLines }, { ...sizes, start }, { to: next, first: start, count });
    systems = next;
  }
  return systems;
}
