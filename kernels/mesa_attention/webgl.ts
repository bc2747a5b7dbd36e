import type { TensorInfo } from '@tensorflow/tfjs-core';

import type { Block, HeadGroup } from '../common/webgl/texels/blocks.js';
import {
  ChunkSweep,
  type Marks,
  type PairTerms,
  quads,
  type States,
  type Vectors,
} from '../common/webgl/texels/sweep.js';
import { type NumberTensor, type TexelBuffer, TexelCall } from '../common/webgl/texels/call.js';
import type { KernelCall } from '../common/kernel_call.js';
import { HeldStates } from '../common/webgl/texels/held_states.js';
import { type MesaAttentionAttrs, mesaAttentionSpec } from './spec.js';
import { MesaSystems } from './systems.js';
import {
  limitByRidgeProgram,
  RIDGE_ROWS,
  ridgeGradientProgram,
  ridgeHeadsProgram,
  ridgesProgram,
  ridgeSumsProgram,
} from './systems.glsl.js';

type Call = TexelCall<MesaAttentionAttrs>;

/** Keys and values of a block, and `sum k_j k_j^T` and `sum k_j v_j^T` over the keys so far. */
interface KeySums {
  readonly key: Vectors;
  readonly value: Vectors;
  readonly gram: States;
  readonly pairs: States;
}

/** One group of heads: what both passes load of it, and its solves. */
class MesaGroup {
  readonly marks: Marks;
  private readonly systems: MesaSystems;
  private readonly before: Pick<KeySums, 'gram' | 'pairs'> | undefined;
  private sums: KeySums | undefined;
  private inverse: ReturnType<MesaSystems['invert']> | undefined;

  /** @param held what a step starts from. */
  constructor(
    private readonly sweep: ChunkSweep<MesaAttentionAttrs>,
    private readonly group: HeadGroup,
    isGradient: boolean,
    held?: HeldStates<MesaAttentionAttrs>,
  ) {
    const { call } = sweep;
    const { D, heads, batch } = call.dims;
    const { firstHead } = group;
    const isTensor = call.has('ridge');
    const sources = isTensor ? { ridge: call.input('ridge') } : undefined;
    const params = { firstHead, headsPerBatch: heads / batch, D };
    const ridges = sweep.call.buffer('ridges', group.heads * (1 + quads(D)));
    call.run(ridgesProgram(isTensor), sources ?? {}, { ...params, ridge: call.attrs.ridge }, { to: ridges });
    const limit = (firstKeys: TexelBuffer): TexelBuffer => {
      const bounds = held?.limitKeys(group, firstKeys) ?? firstKeys;
      if (!sources) return bounds;
      const limited = sweep.call.buffer('boundsByRidge', group.heads);
      call.run(limitByRidgeProgram, { ...sources, bounds }, params, { to: limited });
      return limited;
    };
    this.marks = sweep.marks(group, isGradient ? ['probe', 'dout'] : ['query'], isGradient, limit);
    this.systems = new MesaSystems(sweep, ridges);
    this.before = held && { gram: held.load(group, 'keyKeySum'), pairs: held.load(group, 'keyValueSum') };
  }

  key(block: Block): Vectors {
    return this.sweep.load('key', this.sweep.call.input('key'), this.marks.keys, block);
  }

  value(block: Block): Vectors {
    return this.sweep.load('value', this.sweep.call.input('value'), this.marks.keys, block);
  }

  row(name: string, block: Block, source = this.sweep.call.input(name)): Vectors {
    return this.sweep.load(name, source, this.marks.rows, block);
  }

  /** Adds a block's keys to the sums. */
  addKeys(block: Block): void {
    const { sweep } = this;
    const sums = this.sums ?? this.before;
    const [key, value] = [this.key(block), this.value(block)];
    const gram = sweep.states('gram', { left: key, right: key }, block, 'before', sums?.gram);
    const pairs = sweep.states('keyValue', { left: key, right: value }, block, 'before', sums?.pairs);
    this.sums = { key, value, gram, pairs };
  }

  /** The sums over the keys so far; in a causal call those of the block that was added last. */
  get keySums(): KeySums {
    if (!this.sums) throw new Error(`${this.sweep.call.spec.operator}: rows were asked for before keys`);
    return this.sums;
  }

  /** Writes `H_i^-1 b_i` of a block's rows to a tensor. */
  solve(block: Block, b: Vectors, to: NumberTensor): void {
    const { key, gram } = this.keySums;
    if (this.sweep.call.attrs.causal) this.systems.solveRows(block, this.marks.rows, b, key, gram, to);
    else this.solveTogether(block, b, to);
  }

  /** The same where all rows of a head have one system: `x = M b`, corrected once by its residual. */
  private solveTogether(block: Block, b: Vectors, to: NumberTensor): void {
    const { sweep } = this;
    const { system, inverse } = (this.inverse ??= this.systems.invert(this.group.heads, this.keySums.gram));
    const none = { b, y: b, order: 'before' } as const;
    const x = sweep.product('x', b, inverse, none, block);
    const residual = sweep.product('residual', x, system, { ...none, onto: { sign: '-', vectors: b } }, block);
    const corrected = sweep.product(
      'corrected',
      residual,
      inverse,
      { ...none, onto: { sign: '+', vectors: x } },
      block,
    );
    sweep.store(to, corrected, this.marks.rows, block);
  }
}

function sweepOf(call: Call): { sweep: ChunkSweep<MesaAttentionAttrs>; groups: HeadGroup[] } {
  const { D, Dv } = call.dims;
  const sweep = new ChunkSweep(call);
  // Sums, then two kinds of states of keys and two of rows, two in turn each.
  const sizes = { vectors: 4 * (9 * quads(D) + 4 * quads(Dv)), states: 9, left: D, right: Math.max(D, Dv) };
  return { sweep, groups: sweep.groups(sizes) };
}

/** Fills `out [..., Tq, Dv]` and `probe [..., Tq, D]`; what is held, for a step, becomes what follows it. */
function attend(call: Call, out: NumberTensor, probe: NumberTensor, isStep: boolean): void {
  const { sweep, groups } = sweepOf(call);
  const held = isStep ? new HeldStates(sweep) : undefined;
  for (const group of groups) {
    const heads = new MesaGroup(sweep, group, false, held);
    sweep.forward(group, {
      keys: (block) => {
        heads.addKeys(block);
      },
      rows: (block) => {
        heads.solve(block, heads.row('query', block), probe);
        const x = heads.row('probe', block, probe);
        const { key, value, pairs } = heads.keySums;
        const sums = sweep.product('rowSums', x, pairs, { b: key, y: value, order: 'before' }, block);
        sweep.store(out, sums, heads.marks.rows, block);
      },
    });
    held?.store(group, heads.keySums.gram, 'keyKeySum');
    held?.store(group, heads.keySums.pairs, 'keyValueSum');
    held?.count(group, heads.marks);
  }
  held?.commit();
}

/** `out [..., Tq, Dv]` and `probe [..., Tq, D]`, the solutions `x_i`: linear attention with them for queries. */
export function mesaAttentionWebGl(kernelCall: KernelCall): TensorInfo[] {
  return TexelCall.run(mesaAttentionSpec, kernelCall, (call) => {
    const [out, probe] = [call.output(call.resultShape), call.output(call.tensor('query').shape)];
    attend(call, out, probe, false);
    return [out, probe];
  });
}

/** `out [..., t, Dv]`; the new keys and values go into `keyKeySum`, `keyValueSum` and `count`. */
export function mesaAttentionStepWebGl(kernelCall: KernelCall): TensorInfo[] {
  return TexelCall.run(mesaAttentionSpec, kernelCall, (call) => {
    const out = call.output(call.resultShape);
    attend(call, out, call.temporary(call.tensor('query').shape), true);
    return [out];
  });
}

/** Gradients of query, key, value and, where it is a tensor, ridge; see `cpu.ts` for the formulas. */
export function mesaAttentionGradWebGl(kernelCall: KernelCall): TensorInfo[] {
  return TexelCall.run(mesaAttentionSpec, kernelCall, (call) => {
    const { batch, heads: all, D } = call.dims;
    const [dquery, dkey, dvalue] = ['query', 'key', 'value'].map((name) => call.output(call.tensor(name).shape));
    const dridge = call.gradientOf('ridge');
    const ridgeSums = dridge && call.buffer('ridgeSums', all * quads(D));
    const { sweep, groups } = sweepOf(call);
    for (const group of groups) {
      const heads = new MesaGroup(sweep, group, true);
      const { keys, badBound } = heads.marks;
      sweep.forward(group, {
        keys: (block) => {
          heads.addKeys(block);
        },
        rows: (block) => {
          const { key, value, pairs } = heads.keySums;
          const terms: PairTerms = { b: value, y: key, order: 'before', isTransposed: true };
          heads.solve(block, sweep.product('target', heads.row('dout', block), pairs, terms, block), dquery);
        },
      });
      let x: Vectors | undefined;
      let g: Vectors | undefined;
      let u: Vectors | undefined;
      let [xg, xu]: (States | undefined)[] = [];
      sweep.backward(group, {
        rows: (block) => {
          [x, g, u] = [heads.row('probe', block), heads.row('dout', block), heads.row('solution', block, dquery)];
          xg = sweep.states('xg', { left: x, right: g }, block, 'behind', xg);
          xu = sweep.states('xu', { left: x, right: u }, block, 'behind', xu);
        },
        keys: (block) => {
          if (!x || !g || !u || !xg || !xu) return;
          const [key, value] = [heads.key(block), heads.value(block)];
          const order = 'behind';
          const dv = sweep.product('dvalue', key, xg, { b: x, y: g, order }, block);
          sweep.store(dvalue, dv, keys, block, { badBound });
          // `dk_j = sum_i (g_i.v_j) x_i - (x_i.k_j) u_i - (u_i.k_j) x_i`
          let dk = sweep.product('dkey', value, xg, { b: g, y: x, order, isTransposed: true }, block);
          dk = sweep.product('dkey 2', key, xu, { b: x, y: u, order, onto: { sign: '-', vectors: dk } }, block);
          const last: PairTerms = { b: u, y: x, order, isTransposed: true, onto: { sign: '-', vectors: dk } };
          sweep.store(dkey, sweep.product('dkey 3', key, xu, last, block), keys, block, { badBound });
        },
      });
      if (ridgeSums && badBound)
        addRidge(call, sweep, group, { flags: heads.marks.rows.flags, badBound, dquery, ridgeSums });
    }
    if (dridge && ridgeSums) {
      const params = { batch, headsPerBatch: all / batch, D };
      call.run(ridgeGradientProgram, { sums: ridgeSums }, params, { to: dridge });
    }
    return [dquery, dkey, dvalue, dridge];
  });
}

/** What the gradient of the ridge is made of. */
interface RidgeParts {
  readonly flags: TexelBuffer;
  readonly badBound: TexelBuffer;
  readonly dquery: NumberTensor;
  /** `[heads of the call, D / 4]` */
  readonly ridgeSums: TexelBuffer;
}

/** `-sum_i u_i x_i` of a group's heads. */
function addRidge(
  call: Call,
  sweep: ChunkSweep<MesaAttentionAttrs>,
  { firstHead, heads }: HeadGroup,
  { flags, badBound, dquery, ridgeSums }: RidgeParts,
): void {
  const { Tq: T, D } = call.dims;
  const count = Math.ceil(T / RIDGE_ROWS);
  const width = quads(D);
  const parts = sweep.call.buffer('ridgeParts', heads * count * width);
  const sources = { flags, probe: call.input('probe'), dquery };
  call.run(ridgeSumsProgram, sources, { firstHead, T, D, parts: count }, { to: parts });
  call.run(
    ridgeHeadsProgram,
    { parts, badBound },
    { firstHead, count, width },
    { to: ridgeSums, first: firstHead * width, count: heads * width },
  );
}
