import { MEASURED } from './measured_tunings.js';
import type { TileUse } from './tile.js';

/** What a kernel by matrices may choose freely; all of it changes time only. */
export interface MatrixTuning {
  /** Subgroups of a workgroup, 16 rows each: they share the staged columns. */
  readonly subgroups: number;
  /** Quads of columns of a thread: eight columns each. */
  readonly quads: number;
  /**
   * For how many tiles there is room among the staged columns; absent: columns are staged where they are multiplied, so that
   * those of keys and values need no room at the same time.
   */
  readonly buffers?: number;
  /** Workgroups that take tiles until none is left, where a kernel keeps weights. */
  readonly workgroups: number;
}

/** A use, or the same with vectors of more than 64 numbers. */
export type TuningUse = TileUse | `${TileUse} wide`;

/** What settings hold for a use with vectors of `width` numbers. */
export const tuningUse = (use: TileUse, width: number): TuningUse => (width > 64 ? `${use} wide` : use);

/** The best settings of a class of devices; a use that was not measured is absent. */
export type Tunings = Readonly<Partial<Record<TuningUse, MatrixTuning>>>;

/** What tells devices apart. */
export type DeviceInfo = Pick<GPUAdapterInfo, 'vendor' | 'architecture' | 'device'>;

/**
 * The classes that a device belongs to, the narrowest first. Browsers leave names empty that they do not tell, and an
 * architecture is empty where the browser does not know a new one.
 */
export function classesOf({ vendor, architecture, device }: DeviceInfo): string[] {
  return [device, architecture].flatMap((name) => (name === '' ? [] : [`${vendor} ${name}`])).concat(vendor, '');
}

/** Where nothing was measured for a use: what all uses that were have in common. */
export const UNMEASURED: MatrixTuning = { subgroups: 4, quads: 4, workgroups: 528 };

/**
 * The settings in a table that hold for a device: those of the narrowest class that has them, for wide vectors before those
 * for others.
 */
export function lookUp(
  table: Readonly<Record<string, Tunings>>,
  info: DeviceInfo,
  use: TileUse,
  width: number,
): MatrixTuning {
  const classes = classesOf(info).map((name) => table[name] as Tunings | undefined);
  const found = [tuningUse(use, width), use].flatMap((one) => classes.map((tunings) => tunings?.[one]));
  return found.find((tuning) => tuning !== undefined) ?? UNMEASURED;
}

let tried: { readonly tuning: MatrixTuning; readonly use?: TileUse } | undefined;

/**
 * Has kernels by matrices, all or those of one use, take another setting than was measured to be best; for measurements and
 * tests. Undefined ends it.
 */
export function tryTuning(tuning: MatrixTuning | undefined, use?: TileUse): void {
  tried = tuning && { tuning, use };
}

export function tuningOf({ adapterInfo }: GPUDevice, use: TileUse, width: number): MatrixTuning {
  if (tried !== undefined && (tried.use ?? use) === use) return tried.tuning;
  return lookUp(MEASURED, adapterInfo, use, width);
}
