import type { WebGpuCall } from '../common/webgpu/call.js';
import type { ChunkLayout } from '../common/webgpu/chunk_states.js';
import type { Vectors } from '../common/webgpu/chunk_states.wgsl.js';
import { type Prepared } from '../common/webgpu/prepared.js';
import { BLOCK } from './inverse.wgsl.js';
import { badRidgeShader, ridgeAccess, ridgeFloats, ridgesShader } from './ridge.wgsl.js';
import { inverseQuads, invertShader, solverParts, solveShader } from './solve.wgsl.js';
import type { MesaAttentionAttrs } from './spec.js';

type Call = WebGpuCall<MesaAttentionAttrs>;

/** Bytes that the work of all running workgroups may take; the rest of a call's blocks of rows wait for one to end. */
const WORK_BYTES = 48 * 2 ** 20;

/** Prepares the ridge tensor of a group of heads and declares rows bad whose ridge is unusable. */
function prepareRidges(call: Call, { heads, Tqp, buffers, params }: Prepared, padded: number, ridges: GPUBuffer): void {
  const shader = ridgesShader(call.dims.D, padded);
  call.run(shader, { ridges, ridge: call.input('ridge') }, params, [Math.ceil(ridgeFloats(padded) / 64), heads]);
  call.run(badRidgeShader(padded), { ...buffers, ridges }, params, [Math.ceil(Tqp / 64), heads]);
}

/** The solves `x_i = (K^T K + diag(ridge))^-1 b_i` of a call, which keeps its buffers from one group of heads to the next. */
export class MesaSolver {
  private ridges: GPUBuffer | undefined;
  private inverses: GPUBuffer | undefined;

  constructor(
    private readonly call: Call,
    /** Sums over chunks of keys that begin with `K^T K` (`pairSums`). */
    private readonly gram: ChunkLayout,
    /** Where the right-hand sides lie in the prepared rows. */
    private readonly right: Vectors,
  ) {}

  /** Replaces the right-hand sides by the solutions; `states` has room for the sums over all chunks. */
  solve(prepared: Prepared, states: GPUBuffer): void {
    const { call, gram, right } = this;
    const { heads, buffers, params } = prepared;
    const isCausal = call.attrs.causal;
    const key = gram.left;
    const padded = 4 * key.width;
    const isTensor = call.has('ridge');
    if (isTensor) {
      this.ridges ??= call.scratch(4 * heads * ridgeFloats(padded));
      prepareRidges(call, prepared, padded, this.ridges);
    }
    const ridges = ridgeAccess(key, isTensor);
    const system = { ...params, chunk: gram.chunk, chunks: gram.chunks, ridge: call.attrs.ridge };
    const all = { ...buffers, states, ...(this.ridges && { ridges: this.ridges }) };
    const inverses = isCausal ? undefined : (this.inverses ??= call.scratch(16 * heads * inverseQuads(key)));
    if (inverses) call.run(invertShader(key, gram.right, ridges), { ...all, inverses }, system, [heads]);
    const { firstBlock, blocks } = this.blocks();
    const tasks = heads * blocks;
    const { size } = solverParts(key, isCausal);
    const most = Math.min(WORK_BYTES, call.device.limits.maxStorageBufferBindingSize);
    const workgroups = Math.min(tasks, Math.floor(most / (16 * size)));
    const workBytes = 16 * size * workgroups;
    call.run(
      solveShader({ key, right, isCausal, sums: gram.right }, ridges),
      { ...all, ...(inverses && { inverses }), work: { buffer: call.work(workBytes), size: workBytes } },
      { ...system, blocks, firstBlock, tasks },
      [workgroups],
    );
  }

  /**
   * Blocks of rows that one workgroup solves together. Under `causal` they are those of rows whose last keys are in the
   * same block of keys, so that every row sees a leading part of it; rows that see no key are in none.
   */
  private blocks(): { firstBlock: number; blocks: number } {
    const { Tq, Tk } = this.call.dims;
    if (!this.call.attrs.causal) return { firstBlock: 0, blocks: Math.ceil(Tq / BLOCK) };
    const firstBlock = Math.floor(Math.max(0, Tk - Tq) / BLOCK);
    return { firstBlock, blocks: Math.ceil(Tk / BLOCK) - firstBlock };
  }
}
