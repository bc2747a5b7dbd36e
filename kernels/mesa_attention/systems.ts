import type { Block } from '../common/webgl/blocks.js';
import { type ChunkSweep, entriesOf, type Entries, quads, type States, type Vectors } from '../common/webgl/chunk_sweep.js';
import type { NumberTensor, TexelBuffer } from '../common/webgl/texel_call.js';
import type { MesaAttentionAttrs } from './spec.js';
import { eliminateProgram, storeSolutionsProgram, systemsProgram } from './systems.glsl.js';

/** Floats of the systems that are eliminated together, before and after a step: 16 MiB. */
const SYSTEM_FLOATS = 2 ** 22;

/** The solves `x = (K^T K + diag(ridge))^-1 b` of a group of heads. */
export class MesaSystems {
  private readonly left: number;

  constructor(
    private readonly sweep: ChunkSweep<MesaAttentionAttrs>,
    private readonly ridges: TexelBuffer,
  ) {
    this.left = quads(sweep.call.dims.D);
  }

  /**
   * Solves for the rows of a block, each of which has a system of its own, and writes them to a tensor.
   *
   * @param gram `K^T K` over the keys before each chunk.
   */
  solveRows(block: Block, rows: Entries, right: Vectors, key: Vectors, gram: States, to: NumberTensor): void {
    const { sweep, left } = this;
    const { T, shift, flags } = rows;
    const { first: firstEntry, count } = entriesOf(block, rows);
    const { firstHead, positions, first, chunk } = block;
    const most = this.most(left + 1);
    for (let from = 0; from < count; from += most) {
      const systems = Math.min(most, count - from);
      const buffer = this.buffers(0, systems * 4 * left * (left + 1));
      sweep.call.run(
        systemsProgram(true),
        { ridges: this.ridges, states: gram.buffer, keys: key.buffer, rights: right.buffer },
        { from, left, width: left + 1, T, firstEntry, shift, first, positions, slots: gram.slots, chunk },
        { to: buffer },
      );
      const solutions = this.eliminate(buffer, systems, left + 1, from, T);
      const firstRow = firstHead * T + firstEntry + from;
      const { D } = sweep.call.dims;
      sweep.call.run(
        storeSolutionsProgram,
        { solutions, flags },
        { firstHead, T, D, left, firstRow },
        { to, first: firstRow * D, count: systems * D },
      );
    }
  }

  /** `H` and its inverse for every head, as states: all rows of a head share them. */
  invert(heads: number, gram: States): { system: States; inverse: States } {
    const { sweep, left } = this;
    const size = 4 * left * left;
    const [system, inverse] = ['system', 'inverse'].map((name) => sweep.buffer(name, heads * size));
    const sources = { ridges: this.ridges, states: gram.buffer };
    sweep.call.run(systemsProgram(false), sources, { from: 0, left, width: left }, { to: system });
    const most = this.most(2 * left);
    for (let from = 0; from < heads; from += most) {
      const systems = Math.min(most, heads - from);
      const buffer = this.buffers(0, 2 * systems * size);
      sweep.call.run(systemsProgram(false), sources, { from, left, width: 2 * left }, { to: buffer });
      this.eliminate(buffer, systems, 2 * left, from, 1, inverse);
    }
    const shape = { left, right: left, slots: 1 };
    return { system: { buffer: system, ...shape }, inverse: { buffer: inverse, ...shape } };
  }

  /** Eliminates all channels of `[systems, 4 left, width]`; what is left goes to `to`, behind that of `from` systems. */
  private eliminate(
    buffer: TexelBuffer,
    systems: number,
    width: number,
    from: number,
    perHead: number,
    to?: TexelBuffer,
  ): TexelBuffer {
    const { sweep, left } = this;
    let current = buffer;
    for (let step = 0; step < left; step++) {
      const lines = systems * 4 * left;
      const count = lines * (width - step - 1);
      const isLast = step === left - 1;
      const next = isLast && to ? to : this.buffers((step + 1) % 2, count);
      const start = isLast && to ? from * 4 * left * left : 0;
      sweep.call.run(
        eliminateProgram,
        { systems: current, ridges: this.ridges },
        { left, width: width - step, step, from, perHead, start },
        { to: next, first: start, count },
      );
      current = next;
    }
    return current;
  }

  /** Systems of so many texels a line that fit into the memory for them. */
  private most(width: number): number {
    return Math.max(1, Math.floor(SYSTEM_FLOATS / (2 * 16 * this.left * width)));
  }

  private buffers(turn: number, texels: number): TexelBuffer {
    return this.sweep.buffer(turn === 0 ? 'systems even' : 'systems odd', texels);
  }
}
