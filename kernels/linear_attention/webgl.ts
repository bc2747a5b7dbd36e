import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { Block, HeadGroup } from '../common/webgl/texels/blocks.js';
import {
  ChunkSweep,
  entriesOf,
  type Marks,
  type PairTerms,
  quads,
  type States,
  type Vectors,
} from '../common/webgl/texels/sweep.js';
import { type NumberTensor, type TexelBuffer, TexelCall } from '../common/webgl/texels/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { HeldStates } from '../common/webgl/texels/held_states.js';
import { derivativeFinish, dividedFinish, extendedCotangentProgram, factorsProgram } from './factors.glsl.js';
import { featureMapGlsl } from './feature_map.glsl.js';
import { type LinearAttentionAttrs, linearAttentionSpec } from './spec.js';

type Call = TexelCall<LinearAttentionAttrs>;

/** Keys `phi(k_j)` and values `[v_j, 1]` of a block, and `sum phi(k_j) [v_j, 1]^T` over the keys so far. */
interface KeySums {
  readonly key: Vectors;
  readonly value: Vectors;
  readonly states: States;
}

/** One group of heads: what both passes load of it. */
class LinearGroup {
  readonly marks: Marks;
  private readonly map: ReturnType<typeof featureMapGlsl>;
  private readonly before: States | undefined;
  private sums: KeySums | undefined;

  /** @param held what a step starts from. */
  constructor(
    private readonly sweep: ChunkSweep<LinearAttentionAttrs>,
    group: HeadGroup,
    isGradient: boolean,
    held?: HeldStates<LinearAttentionAttrs>,
  ) {
    this.map = featureMapGlsl(sweep.call.attrs.featureMap);
    const limit = held && ((bounds: TexelBuffer): TexelBuffer => held.limitKeys(group, bounds));
    this.marks = sweep.marks(group, isGradient ? ['query', 'dout'] : ['query'], isGradient, limit);
    this.before = held?.load(group, 'keyValueSum', 'keySum');
  }

  key(block: Block): Vectors {
    return this.sweep.load('key', this.sweep.call.input('key'), this.marks.keys, block, { map: this.map });
  }

  value(block: Block): Vectors {
    return this.sweep.load('value', this.sweep.call.input('value'), this.marks.keys, block, { hasOne: true });
  }

  query(block: Block): Vectors {
    return this.sweep.load('query', this.sweep.call.input('query'), this.marks.rows, block, { map: this.map });
  }

  dout(block: Block): Vectors {
    return this.sweep.load('dout', this.sweep.call.input('dout'), this.marks.rows, block);
  }

  /** Adds a block's keys to the sums. */
  addKeys(block: Block): void {
    const [key, value] = [this.key(block), this.value(block)];
    const states = this.sweep.states(
      'keyStates',
      { left: key, right: value },
      block,
      'before',
      this.sums?.states ?? this.before,
    );
    this.sums = { key, value, states };
  }

  /** The sums over the keys so far; in a causal call those of the block that was added last. */
  get keySums(): KeySums {
    if (!this.sums) throw new Error(`${this.sweep.call.spec.operator}: rows were asked for before keys`);
    return this.sums;
  }

  /** `sum_j (phi(q).phi(k_j)) [v_j, 1]` of a block's rows. */
  rowSums(block: Block, query: Vectors): Vectors {
    const { key, value, states } = this.keySums;
    return this.sweep.product('rowSums', query, states, { b: key, y: value, order: 'before' }, block);
  }

  /** What programs over rows want to know. */
  rowParams({ positions, first }: Block) {
    const { dims, attrs } = this.sweep.call;
    const { Tq, Dv } = dims;
    const { shift } = this.marks.rows;
    return { Tq, Dv, positions, first, shift, isNormalized: Number(attrs.normalize), scale: attrs.scale };
  }
}

function sweepOf(call: Call): { sweep: ChunkSweep<LinearAttentionAttrs>; groups: HeadGroup[] } {
  const { D, Dv } = call.dims;
  const sweep = new ChunkSweep(call);
  // Sums, then states of keys and of rows, two in turn each.
  const sizes = { vectors: 4 * (4 * quads(D) + 5 * quads(Dv + 1)), states: 5, left: D, right: Dv + 1 };
  return { sweep, groups: sweep.groups(sizes) };
}

/** Fills `out [..., Tq, Dv]`; what is held, for a step, becomes what follows it. */
function attend(call: Call, out: NumberTensor, isStep: boolean): void {
  const { sweep, groups } = sweepOf(call);
  const held = isStep ? new HeldStates(sweep) : undefined;
  for (const group of groups) {
    const heads = new LinearGroup(sweep, group, false, held);
    sweep.forward(group, {
      keys: (block) => {
        heads.addKeys(block);
      },
      rows: (block) => {
        const sums = heads.rowSums(block, heads.query(block));
        sweep.store(out, sums, heads.marks.rows, block, { finish: dividedFinish, params: heads.rowParams(block) });
      },
    });
    held?.store(group, heads.keySums.states, 'keyValueSum', 'keySum');
    held?.count(group, heads.marks);
  }
  held?.commit();
}

/** `out [..., Tq, Dv]` */
export function linearAttentionWebGl(kernelCall: KernelCall): TensorInfo[] {
  return TexelCall.run(linearAttentionSpec, kernelCall, (call) => {
    const out = call.output(call.resultShape);
    attend(call, out, false);
    return [out];
  });
}

/** `out [..., t, Dv]`; the new keys and values go into `keySum`, `keyValueSum` and `count`. */
export function linearAttentionStepWebGl(kernelCall: KernelCall): TensorInfo[] {
  return TexelCall.run(linearAttentionSpec, kernelCall, (call) => {
    const out = call.output(call.resultShape);
    attend(call, out, true);
    return [out];
  });
}

/** Gradients of query, key and value; see `cpu.ts` for the formulas. */
export function linearAttentionGradWebGl(kernelCall: KernelCall): TensorInfo[] {
  return TexelCall.run(linearAttentionSpec, kernelCall, (call) => {
    const { Tq, Dv } = call.dims;
    const [dquery, dkey, dvalue] = ['query', 'key', 'value'].map((name) => call.output(call.tensor(name).shape));
    const finish = derivativeFinish(call.attrs.featureMap);
    const { sweep, groups } = sweepOf(call);
    for (const group of groups) {
      const heads = new LinearGroup(sweep, group, true);
      const { keys, rows, badBound } = heads.marks;
      const factors = sweep.call.buffer('factors', group.heads * Tq);
      /** `[f_i g_i, -f_i g_i.o_i]` */
      const extended = (block: Block, dout: Vectors): Vectors => {
        const width = quads(Dv + 1);
        const buffer = sweep.call.buffer('extended', block.heads * block.positions * width);
        const sources = { factors, dout: dout.buffer };
        call.run(extendedCotangentProgram, sources, heads.rowParams(block), { to: buffer });
        return { buffer, width };
      };
      sweep.forward(group, {
        keys: (block) => {
          heads.addKeys(block);
        },
        rows: (block) => {
          const [query, dout] = [heads.query(block), heads.dout(block)];
          const { first, count } = entriesOf(block, rows);
          if (count === 0) return;
          const sources = { flags: rows.flags, sums: heads.rowSums(block, query).buffer, dout: dout.buffer };
          call.run(factorsProgram, sources, heads.rowParams(block), { to: factors, first, count });
          const { key, value, states } = heads.keySums;
          const terms: PairTerms = { b: value, y: key, order: 'before', isTransposed: true };
          const dphi = sweep.product('dphi', extended(block, dout), states, terms, block);
          sweep.store(dquery, dphi, rows, block, { finish, sources: { features: query.buffer } });
        },
      });
      let rowStates: States | undefined;
      let [query, cotangent]: (Vectors | undefined)[] = [];
      sweep.backward(group, {
        rows: (block) => {
          query = heads.query(block);
          cotangent = extended(block, heads.dout(block));
          rowStates = sweep.states('rowStates', { left: query, right: cotangent }, block, 'behind', rowStates);
        },
        keys: (block) => {
          if (!query || !cotangent || !rowStates) return;
          const [key, value] = [heads.key(block), heads.value(block)];
          const forKeys: PairTerms = { b: cotangent, y: query, order: 'behind', isTransposed: true };
          const dphi = sweep.product('dphi', value, rowStates, forKeys, block);
          sweep.store(dkey, dphi, keys, block, { badBound, finish, sources: { features: key.buffer } });
          const forValues: PairTerms = { b: query, y: cotangent, order: 'behind' };
          const dv = sweep.product('dvalue', key, rowStates, forValues, block);
          sweep.store(dvalue, dv, keys, block, { badBound });
        },
      });
    }
    return [dquery, dkey, dvalue];
  });
}
