import type { Block } from '../common/webgl/texels/blocks.js';
import {
  type ChunkSweep,
  entriesOf,
  type Entries,
  quads,
  type States,
  type Vectors,
} from '../common/webgl/texels/sweep.js';
import { eliminate, mostSystems, systemsBuffer } from '../common/webgl/texels/elimination.js';
import type { NumberTensor, TexelBuffer } from '../common/webgl/texels/call.js';
import type { MesaAttentionAttrs } from './spec.js';
import { storeSolutionsProgram, systemsProgram } from './systems.glsl.js';

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
    const most = mostSystems(left, left + 1);
    for (let from = 0; from < count; from += most) {
      const systems = Math.min(most, count - from);
      const buffer = systemsBuffer(sweep.call, systems * 4 * left * (left + 1));
      sweep.call.run(
        systemsProgram(true),
        { ridges: this.ridges, states: gram.buffer, keys: key.buffer, rights: right.buffer },
        { from, left, width: left + 1, T, firstEntry, shift, first, positions, slots: gram.slots, chunk },
        { to: buffer },
      );
      const least = { buffer: this.ridges, perLeast: T, stride: left + 1 };
      const solutions = eliminate(sweep.call, { buffer, n: systems, left, width: left + 1, from }, least);
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
    const [system, inverse] = ['system', 'inverse'].map((name) => sweep.call.buffer(name, heads * size));
    const sources = { ridges: this.ridges, states: gram.buffer };
    sweep.call.run(systemsProgram(false), sources, { from: 0, left, width: left }, { to: system });
    const most = mostSystems(left, 2 * left);
    for (let from = 0; from < heads; from += most) {
      const systems = Math.min(most, heads - from);
      const buffer = systemsBuffer(sweep.call, 2 * systems * size);
      sweep.call.run(systemsProgram(false), sources, { from, left, width: 2 * left }, { to: buffer });
      const least = { buffer: this.ridges, perLeast: 1, stride: left + 1 };
      const to = { buffer: inverse, start: from * size };
      eliminate(sweep.call, { buffer, n: systems, left, width: 2 * left, from }, least, to);
    }
    const shape = { left, right: left, slots: 1 };
    return { system: { buffer: system, ...shape }, inverse: { buffer: inverse, ...shape } };
  }
}
