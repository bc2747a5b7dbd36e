import type { AttentionAttrs } from '../spec.js';
import type { Binding, WebGpuCall } from './call.js';
import {
  type ChunkSource,
  chunkStatesShader,
  type Scan,
  scanShader,
  stateParts,
  stateQuads,
  type Vectors,
} from './chunk_states.wgsl.js';
import { ROW_PADDING } from './row_layout.js';
import { chooseTile } from './tile.js';
import { blockRowsOf, type Tile } from './tile.wgsl.js';

/** Rows of a chunk where nothing happens inside it: few enough that the chunks of one head fill a device. */
const FULL_CHUNK = 256;

/**
 * Rows of a chunk, for states of `left` by `right` numbers. With as many rows as the narrower vector has numbers the
 * states of all chunks take as much memory as the wider vectors; a causal call's work inside chunks grows with them.
 */
export const chunkRows = (left: number, right: number, isCausal: boolean): number =>
  isCausal ? Math.max(ROW_PADDING, Math.min(left, right)) : FULL_CHUNK;

/** A head's states: how many chunks its rows are cut into, and where one state ends. */
export interface ChunkLayout {
  /** Rows of the prepared tensor, a multiple of `ROW_PADDING`. */
  readonly rows: number;
  readonly chunk: number;
  readonly chunks: number;
  /** Numbers of a state. */
  readonly size: number;
  readonly left: Vectors;
  readonly right: Vectors;
}

export function chunkLayout(T: number, left: Vectors, right: Vectors, chunk: number): ChunkLayout {
  const rows = Math.ceil(T / ROW_PADDING) * ROW_PADDING;
  return { rows, chunk, chunks: Math.ceil(rows / chunk), size: 4 * stateQuads(left, right), left, right };
}

/** Numbers a head that the states take. */
export const stateFloats = ({ chunks, size }: ChunkLayout): number => (chunks + 1) * size;

/** A tile whose rows are not more than the channels of the left vectors. */
function tileOf(device: GPUDevice, { left, right }: ChunkLayout): Tile {
  const tile = chooseTile(device, 4 * (right.width % 16 === 0 ? 16 : 8), 'chunks');
  return blockRowsOf(tile) <= 4 * left.width ? tile : { ...tile, threadsY: 8 };
}

/** Records the passes that leave the scanned states of some heads in `states`; see `chunkStatesShader`. */
export function sumChunks<Attrs extends AttentionAttrs>(
  call: WebGpuCall<Attrs>,
  layout: ChunkLayout,
  heads: number,
  scan: Scan,
  source: ChunkSource,
  buffers: Readonly<Record<string, Binding>> & { readonly states: Binding },
  params: Readonly<Record<string, number>> = {},
): void {
  const { rows, chunk, chunks, size, left, right } = layout;
  const tile = tileOf(call.device, layout);
  call.run(chunkStatesShader(tile, left, right, source), buffers, { ...params, rows, chunk, chunks }, [
    heads,
    chunks,
    stateParts(tile, left, right),
  ]);
  call.run(scanShader(scan), { states: buffers.states }, { chunks, size: size / 4 }, [Math.ceil(size / 256), heads]);
}
