import type { AttentionAttrs } from '../../spec.js';
import type { HeadGroup } from './blocks.js';
import type { NumberTensor, TexelBuffer } from './call.js';
import { countProgram, limitByCountProgram, loadStatesProgram, storeStatesProgram } from './held_states.glsl.js';
import { type ChunkSweep, type Marks, quads, type States } from './sweep.js';

/**
 * The sums over the keys of earlier steps that a cache holds, for a step that starts from them. A texture cannot be read and
 * written at once, so what follows them is written to tensors that take their places when the step is done: they are of the
 * same size at any length.
 */
export class HeldStates<Attrs extends AttentionAttrs> {
  private readonly next = new Map<string, NumberTensor>();

  constructor(private readonly sweep: ChunkSweep<Attrs>) {}

  /** `limitKeys` of `ChunkSweep.marks`: rows see the keys of earlier steps, too. */
  limitKeys({ firstHead, heads }: HeadGroup, bounds: TexelBuffer): TexelBuffer {
    const { call } = this.sweep;
    const limited = this.sweep.call.buffer('boundsByCount', heads);
    call.run(limitByCountProgram, { bounds, count: call.input('count') }, { firstHead }, { to: limited });
    return limited;
  }

  /** The states of a group's heads, from a tensor of sums and, where there is one, one of a last column. */
  load({ firstHead, heads }: HeadGroup, sums: string, column?: string): States {
    const { call } = this.sweep;
    const [D, columns] = call.tensor(sums).shape.slice(-2);
    const [left, right] = [quads(D), quads(columns + Number(column !== undefined))];
    const buffer = this.sweep.call.buffer(`held ${sums}`, heads * 4 * left * right);
    call.run(
      loadStatesProgram(column !== undefined),
      { sums: call.input(sums), ...(column !== undefined && { column: call.input(column) }) },
      { firstHead, D, columns, left, right },
      { to: buffer },
    );
    return { buffer, left, right, slots: 1 };
  }

  /** Writes the last states of a group's heads to what follows the tensors that `load` was given. */
  store({ firstHead, heads }: HeadGroup, { buffer, left, right, slots }: States, sums: string, column?: string): void {
    const { call } = this.sweep;
    const [D, columns] = call.tensor(sums).shape.slice(-2);
    const write = (name: string, count: number, firstColumn: number): void => {
      const range = { first: firstHead * D * count, count: heads * D * count };
      const params = { firstHead, D, columns: count, firstColumn, left, right, slots };
      call.run(storeStatesProgram, { states: buffer }, params, { to: this.successor(name), ...range });
    };
    write(sums, columns, 0);
    if (column !== undefined) write(column, 1, columns);
  }

  /** Counts a group's new keys. */
  count({ firstHead, heads }: HeadGroup, { keys }: Marks): void {
    const { call } = this.sweep;
    call.run(
      countProgram,
      { flags: keys.flags, count: call.input('count') },
      { firstHead, Tk: keys.T },
      { to: this.successor('count'), first: firstHead, count: heads },
    );
  }

  /** Puts what was written into the cache. */
  commit(): void {
    for (const [name, tensor] of this.next) this.sweep.call.replace(name, tensor);
  }

  private successor(name: string): NumberTensor {
    const made = this.next.get(name) ?? this.sweep.call.temporary(this.sweep.call.tensor(name).shape);
    this.next.set(name, made);
    return made;
  }
}
