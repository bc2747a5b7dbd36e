import type { TileUse } from './tile.js';

/** What a kernel by matrices may choose freely; all of it changes time only. */
export interface MatrixTuning {
  /** Subgroups of a workgroup, 16 rows each: they share the staged columns. */
  readonly subgroups: number;
  /** Quads of columns of a thread: eight columns each. */
  readonly quads: number;
  /** Workgroups that take tiles until none is left, where a kernel keeps weights. */
  readonly workgroups: number;
}

type Tunings = Readonly<Record<TileUse, MatrixTuning>>;

/**
 * By the architecture that a device's adapter names; `other` is for those that were not measured. Part `u` of
 * `npm run fast` measures them.
 */
const MEASURED: Readonly<Record<string, Tunings>> = {
  other: {
    onePass: { subgroups: 4, quads: 2, workgroups: 528 },
    passes: { subgroups: 4, quads: 4, workgroups: 528 },
    keptWeights: { subgroups: 4, quads: 4, workgroups: 528 },
    chunks: { subgroups: 2, quads: 8, workgroups: 528 },
  },
};

let tried: MatrixTuning | undefined;

/** Has all kernels by matrices take other settings than were measured to be best; for measurements. Undefined ends it. */
export function tryTuning(tuning: MatrixTuning | undefined): void {
  tried = tuning;
}

export function tuningOf(device: GPUDevice, use: TileUse): MatrixTuning {
  return tried ?? (MEASURED[device.adapterInfo.architecture] ?? MEASURED.other)[use];
}
