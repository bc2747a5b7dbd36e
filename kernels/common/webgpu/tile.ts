import { limitsOf } from './limits.js';
import { BLOCK, type Matrices, matricesOf } from './matrices.js';
import { blockColumnsOf, type Tile, threadsOf, tileBytes } from './tile.wgsl.js';
import { type MatrixTuning, tuningOf } from './tuning.js';

/** Accumulated quads that a thread can hold beside its products without spilling registers (measured). */
const MOST_ACCUMULATED = 16;

/** Quads of a column's vector that are staged at a time. */
const CHUNK = 16;

/**
 * What a kernel is: one pass over the keys; more than that; passes over weights that it keeps; a pass over queries for rows of
 * keys; or over chunks and their sums.
 */
export type TileUse = 'onePass' | 'passes' | 'keptWeights' | 'gradientRows' | 'keys' | 'chunks';

/** Quads and columns per turn of a kernel's loops. */
const UNROLLED: Readonly<Record<TileUse, readonly [number, number]>> = {
  onePass: [16, 8],
  passes: [8, 4],
  keptWeights: [8, 4],
  gradientRows: [8, 4],
  keys: [8, 4],
  chunks: [2, 2],
};

const fits = (limits: ReturnType<typeof limitsOf>, tile: Tile, own = 0): boolean =>
  tileBytes(tile) + own <= limits.maxComputeWorkgroupStorageSize &&
  threadsOf(tile) <= limits.maxComputeInvocationsPerWorkgroup;

/**
 * The tile of a kernel whose rows accumulate `width` numbers in all. Measured on an H100 through Dawn, 32 x 4096 x 64:
 * - 64 rows a workgroup where the device has room for it. Within the limits that every device has, 32: of 64 threads, but
 *   of 128 where weights are kept, whose memory bounds the rows in flight, so that threads are what is left to add.
 *   32 as well, of 128 threads, in the second kernel of a solve (`isSecond`): the tiles that it takes of a causal call are few,
 *   and wait for each other's memory rather than for arithmetic.
 * - Everything unrolled wins 3 % in a kernel of one pass, and loses up to a factor of five in one with more numbers per
 *   thread, whose registers then spill.
 */
export function chooseTile(device: GPUDevice, width: number, use: TileUse, isSecond = false): Tile {
  const threadsX = 8;
  const perRow = width / 4 / threadsX;
  const rows = perRow * 4 <= MOST_ACCUMULATED ? 4 : perRow * 2 <= MOST_ACCUMULATED ? 2 : 1;
  const [unrolledQuads, unrolledColumns] = UNROLLED[use];
  const large = {
    threadsX,
    threadsY: 16,
    rows,
    quads: 1,
    chunk: CHUNK,
    unrolledQuads,
    unrolledColumns,
  };
  const limits = limitsOf(device);
  const half = { ...large, rows: Math.min(rows, 2) };
  const fewRows = isSecond ? [half] : [large, half];
  const candidates = use === 'keptWeights' ? fewRows : [large, { ...large, threadsY: 8 }, half];
  const tile = candidates.find((one) => fits(limits, one));
  if (tile === undefined) {
    const { maxComputeWorkgroupStorageSize: bytes, maxComputeInvocationsPerWorkgroup: threads } = limits;
    throw new Error(`no tile fits the device's ${bytes} bytes of workgroup memory and ${threads} invocations`);
  }
  return tile;
}

/**
 * A tile by matrices, with room for so many sets of columns (`regions`) and for the products of so many sets of rows (`areas`).
 */
export const matrixTile = (
  matrices: Matrices,
  width: number,
  { subgroups, quads, buffers }: Pick<MatrixTuning, 'subgroups' | 'quads' | 'buffers'>,
  regions: number,
  areas: number,
): Tile => ({
  threadsX: 2,
  threadsY: BLOCK * subgroups,
  rows: 1,
  quads,
  chunk: width / 4,
  unrolledQuads: 1,
  unrolledColumns: 1,
  matrices,
  regions,
  areas,
  ...(buffers !== undefined && { buffers }),
});

/** Vectors beyond this take more registers as sums than a thread has. */
const WIDEST = 128;

/**
 * The tile of a kernel by matrices of half precision, for vectors of up to `width` numbers; undefined where the device has no such
 * units or no room. Gradients stage all columns of a tile together, those of keys `regions` sets, and make two products at a time.
 */
export function chooseMatrixTile(device: GPUDevice, width: number, use: TileUse, regions = 2): Tile | undefined {
  const matrices = matricesOf(device);
  if (matrices === undefined || width > WIDEST) return undefined;
  const limits = limitsOf(device);
  const tuning = tuningOf(device, use, width);
  const isGradient = use === 'gradientRows' || use === 'keys';
  const buffers = tuning.buffers ?? (isGradient ? 1 : undefined);
  const tiles = [tuning.subgroups, 4, 2, 1].flatMap((subgroups) =>
    [buffers, buffers && 1].map((some) =>
      matrixTile(
        matrices,
        width,
        { ...tuning, subgroups, buffers: some },
        buffers === undefined ? 1 : regions,
        isGradient ? 2 : 1,
      ),
    ),
  );
  // The pass over keys stages two quads a column of its own.
  const own = (tile: Tile): number => (use === 'keys' ? 32 * blockColumnsOf(tile) * (tile.buffers ?? 1) : 0);
  return tiles.find((one) => fits(limits, one, own(one)));
}
