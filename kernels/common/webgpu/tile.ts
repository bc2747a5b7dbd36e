import { type Tile, threadsOf, tileBytes } from './tile.wgsl.js';

/** Accumulated quads that a thread can hold beside its products without spilling registers (measured). */
const MOST_ACCUMULATED = 16;

/** Quads of a column's vector that are staged at a time. */
const CHUNK = 16;

/**
 * The tile of a kernel whose rows accumulate `width` numbers in all: 64 rows a workgroup where the device has room for
 * it, else 32, which fits the limits that every device has.
 */
export function chooseTile(device: GPUDevice, width: number): Tile {
  const threadsX = 8;
  const perRow = width / 4 / threadsX;
  const rows = perRow * 4 <= MOST_ACCUMULATED ? 4 : perRow * 2 <= MOST_ACCUMULATED ? 2 : 1;
  const large = { threadsX, threadsY: 16, rows, chunk: CHUNK };
  const { limits } = device;
  const fits =
    tileBytes(large) <= limits.maxComputeWorkgroupStorageSize &&
    threadsOf(large) <= limits.maxComputeInvocationsPerWorkgroup;
  return fits ? large : { ...large, threadsY: 8 };
}
