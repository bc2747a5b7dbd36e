import type { TensorInfo } from '@tensorflow/tfjs-core';

import { copyFinite } from '../common/cpu/head.js';
import { type Probe, probeAttention, probeAttentionGradient } from '../common/cpu/probe_attention.js';
import { CpuCall } from '../common/cpu/problem.js';
import type { KernelCall } from '../common/kernel_call.js';
import { BLOCK_Q, type SoftmaxTile } from '../common/cpu/softmax_tile.js';
import { TileSolver } from '../common/cpu/solve.js';
import { withWorkspace, type Workspace } from '../common/cpu/workspace.js';
import { type LocalLinearAttentionAttrs, localLinearAttentionSpec } from './spec.js';

/** The ridge of each row of the loaded tile; a row whose ridge is no positive finite number is declared bad. */
class TileRidge {
  readonly values = new Float64Array(BLOCK_Q);

  constructor(
    private readonly attrs: LocalLinearAttentionAttrs,
    /** `[heads, Tq]`, where the ridge is a tensor. */
    private readonly rows: ArrayLike<number> | undefined,
  ) {}

  load(tile: SoftmaxTile, head: number): void {
    const first = head * tile.dims.Tq + tile.start;
    for (let r = 0; r < tile.rows; r++) {
      const ridge = this.rows === undefined ? this.attrs.ridge : this.rows[first + r];
      const usable = ridge > 0 && ridge < Infinity;
      tile.requireRow(r, usable);
      this.values[r] = usable ? ridge : 1;
    }
  }
}

/** The probe that solves `(C + ridge I) x = q - kbar`. */
function solvedProbe(
  workspace: Workspace,
  tile: SoftmaxTile,
  ridge: TileRidge,
  attrs: LocalLinearAttentionAttrs,
): Probe {
  const { D } = tile.dims;
  const solver = new TileSolver(workspace, tile, ridge.values, attrs);
  const b = workspace.take(BLOCK_Q * D);
  return {
    find(_, head, probe) {
      ridge.load(tile, head);
      for (let r = 0; r < tile.rows; r++) {
        for (let d = 0; d < D; d++) {
          const i = r * D + d;
          // Both query and mean key relative to the head's centre. A row that is not ordinary asks for nothing.
          b[i] = tile.isOrdinary(r) ? tile.query[i] - tile.head.centre[d] - tile.kbar[i] : 0;
        }
      }
      solver.solve(b, probe);
    },
  };
}

/** The probe that the forward pass saved, and the second solve of the gradient. */
function savedProbe(
  workspace: Workspace,
  tile: SoftmaxTile,
  ridge: TileRidge,
  attrs: LocalLinearAttentionAttrs,
  saved: ArrayLike<number>,
): Probe {
  const { Tq, D } = tile.dims;
  const solver = new TileSolver(workspace, tile, ridge.values, attrs);
  return {
    find(_, head, probe) {
      ridge.load(tile, head);
      for (let r = 0; r < tile.rows; r++) {
        tile.requireRow(r, copyFinite(saved, (head * Tq + tile.start + r) * D, probe, r * D, D));
      }
    },
    solveAdjoint: (_, N, u) => {
      solver.solve(N, u);
    },
    ridge: (r) => ridge.values[r],
  };
}

/** `out [..., Tq, Dv]` and `probe [..., Tq, D]`. */
export function localLinearAttentionCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(localLinearAttentionSpec, kernelCall);
  const attrs = call.attrs;
  const ridge = new TileRidge(attrs, call.optionalValues('ridge'));
  const { out, probe } = withWorkspace((workspace) =>
    probeAttention(workspace, call.problem(), attrs, (scratch, tile) => solvedProbe(scratch, tile, ridge, attrs)),
  );
  return [call.output(out, call.resultShape), call.output(probe, call.tensor('query').shape.slice())];
}

export function localLinearAttentionGradCpu(kernelCall: KernelCall): TensorInfo[] {
  const call = new CpuCall(localLinearAttentionSpec, kernelCall);
  const attrs = call.attrs;
  const ridge = new TileRidge(attrs, call.optionalValues('ridge'));
  const saved = call.values('probe');
  const gradient = withWorkspace((workspace) =>
    probeAttentionGradient(workspace, call.problem(), attrs, call.values('dout'), (scratch, tile) =>
      savedProbe(scratch, tile, ridge, attrs, saved),
    ),
  );
  return call.gradients({
    query: gradient.dquery,
    key: gradient.dkey,
    value: gradient.dvalue,
    ridge: gradient.dridge,
    keyBias: gradient.dkeyBias,
  });
}
