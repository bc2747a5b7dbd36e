/** The dtypes of the format, and how values of those that a weight can be made of are read and written. */
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from './half.js';

/** Bits per value of every dtype that the format defines (safetensors 0.8). */
export const BITS: ReadonlyMap<string, number> = new Map([
  ...['F64', 'C64', 'I64', 'U64'].map((dtype): [string, number] => [dtype, 64]),
  ...['F32', 'I32', 'U32'].map((dtype): [string, number] => [dtype, 32]),
  ...['F16', 'BF16', 'I16', 'U16'].map((dtype): [string, number] => [dtype, 16]),
  ...['BOOL', 'I8', 'U8', 'F8_E4M3', 'F8_E5M2', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'].map(
    (dtype): [string, number] => [dtype, 8],
  ),
  ['F6_E2M3', 6],
  ['F6_E3M2', 6],
  ['F4', 4],
]);

/** A dtype whose values fit a weight. */
export interface NumberFormat {
  /** Bytes per value. */
  readonly bytes: number;
  /** The tfjs dtype of the weights that it fits. */
  readonly weight: 'float32' | 'int32';
  readonly read: (view: DataView, at: number) => number;
  readonly write: (view: DataView, at: number, value: number) => void;
}

/** The formats that weights are read from and written to. All numbers are little-endian, on every machine. */
export const FORMATS = {
  F32: {
    bytes: 4,
    weight: 'float32',
    read: (view, at) => view.getFloat32(at, true),
    write: (view, at, value) => view.setFloat32(at, value, true),
  },
  F16: {
    bytes: 2,
    weight: 'float32',
    read: (view, at) => fromFloat16(view.getUint16(at, true)),
    write: (view, at, value) => view.setUint16(at, toFloat16(value), true),
  },
  BF16: {
    bytes: 2,
    weight: 'float32',
    read: (view, at) => fromBfloat16(view.getUint16(at, true)),
    write: (view, at, value) => view.setUint16(at, toBfloat16(value), true),
  },
  F64: {
    bytes: 8,
    weight: 'float32',
    read: (view, at) => view.getFloat64(at, true),
    write: (view, at, value) => view.setFloat64(at, value, true),
  },
  I32: {
    bytes: 4,
    weight: 'int32',
    read: (view, at) => view.getInt32(at, true),
    write: (view, at, value) => view.setInt32(at, value, true),
  },
} as const satisfies Readonly<Record<string, NumberFormat>>;

/** The format of a dtype, if weights can be read from it. */
export function formatOf(dtype: string): NumberFormat | undefined {
  return Object.hasOwn(FORMATS, dtype) ? FORMATS[dtype as keyof typeof FORMATS] : undefined;
}
