import type { SolverAttrs } from '../../local_linear_attention/spec.js';
import { SMALL_RIDGE } from '../../local_linear_attention/spec.js';
import type { AttentionAttrs } from '../spec.js';
import type { WebGpuCall } from './call.js';
import { PROGRESS_HEAD, regionQuads } from './conjugate_gradient.wgsl.js';
import type { TileUse } from './tile.js';
import type { Tile } from './tile.wgsl.js';
import { tuningOf } from './tuning.js';

/** Bytes that weights of running workgroups may take in all; less where the device binds less. */
const MOST_KEPT = 288 * 2 ** 20;

/**
 * Workgroups that take tiles until none is left. The prototype of these kernels was as fast with 264 as with 1056 on a GPU
 * of 132 cores; the more there are, the more weights are kept.
 */
const WORKGROUPS = 264;

/** Below this many workgroups a large device idles, and computing the weights anew is faster. */
const FEWEST_WORKGROUPS = 128;

/** How a call's tiles are spread over running workgroups. */
export interface Schedule {
  readonly isKept: boolean;
  readonly workgroups: number;
  readonly rowTiles: number;
  readonly tiles: number;
  readonly regionQuads: number;
}

/** Keeps the weights where they fit for enough workgroups. */
export function scheduleOf(
  device: GPUDevice,
  tile: Tile,
  Dp: number,
  heads: number,
  rowTiles: number,
  Tkp: number,
  use: TileUse = 'keptWeights',
): Schedule {
  const tiles = rowTiles * heads;
  const most = Math.min(MOST_KEPT, device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
  const workgroups = tile.matrices ? tuningOf(device, use, Dp).workgroups : WORKGROUPS;
  const fitting = (quads: number): number => Math.min(workgroups, tiles, Math.floor(most / (16 * quads)));
  const kept = regionQuads(tile, Dp, Tkp, true);
  const isKept = fitting(kept) >= Math.min(FEWEST_WORKGROUPS, tiles);
  const quads = isKept ? kept : regionQuads(tile, Dp, Tkp, false);
  latest = { isKept, workgroups: fitting(quads), rowTiles, tiles, regionQuads: quads };
  return latest;
}

let latest: Schedule | undefined;

/** The schedule of the solve whose counters `copyProgressTo` has had copied last. */
export const latestSchedule = (): Schedule | undefined => latest;

/** Bytes of `progress` for some heads: counters and a flag per row. */
export const progressBytes = (heads: number, Tqp: number): number => 4 * (PROGRESS_HEAD + heads * Tqp);

/** Down from this the extra half step of the solver is trusted with less: a factor of 2 of the residual instead of 10. */
const TIGHT_TOLERANCE = 1e-4;

/** The uniforms of a solver. */
export function solverUniforms(attrs: SolverAttrs, schedule: Schedule): Record<string, number> {
  const { rowTiles, tiles, regionQuads: quads } = schedule;
  return {
    rowTiles,
    tiles,
    regionQuads: quads,
    squaredTolerance: attrs.tolerance * attrs.tolerance,
    leastDrop: attrs.tolerance <= TIGHT_TOLERANCE ? 0.25 : 0.01,
    // A direct solver leaves nothing to iterate.
    maxIterations: attrs.solver === 'direct' ? 0 : attrs.maxIterations,
  };
}

/** Ridges below this times the variance of the keys are left to the direct solver. */
export const smallRidgeOf = ({ solver }: SolverAttrs): number => (solver === 'auto' ? SMALL_RIDGE : 0);

/** Bytes of the counters. */
const PROGRESS_BYTES = 16;

/** Where benchmarks have the solver's counters copied to, if they ask for them. */
let progressTarget: GPUBuffer | undefined;

/**
 * Has the next solves copy their counters to `buffer`, 16 bytes: the tiles taken in float32; the iterations of all rows and of the
 * row with most; those of all tiles. Undefined ends it.
 */
export function copyProgressTo(buffer: GPUBuffer | undefined): void {
  progressTarget = buffer;
}

export function reportProgress<Attrs extends AttentionAttrs>(call: WebGpuCall<Attrs>, progress: GPUBuffer): void {
  if (progressTarget !== undefined) call.copy(progress, progressTarget, PROGRESS_BYTES);
}
