/** A function of every number of a row, `fn name(x: vec4f) -> vec4f`. */
export interface ElementMap {
  readonly name: string;
  readonly text: string;
}

/** A row of a tensor `[heads, T, width]` as part of a prepared row. */
export interface Slot {
  /** Name of the tensor among the inputs. */
  readonly name: string;
  /** Numbers of the tensor's row, and of the slot. */
  readonly width: number;
  readonly padded: number;
  /** Where the slot begins, in quads. */
  readonly offset: number;
  /** Stored with the other sign: Parallax's `x = -r`. */
  readonly isNegated?: boolean;
  /** Stored minus the centre of the head's keys. */
  readonly isCentred?: boolean;
  /** Applied to the numbers of ordinary rows and kept keys; what is zero for another reason stays zero. */
  readonly map?: ElementMap;
}

/** How prepared query rows lie in their buffer, `[heads, Tqp, quads]`; all in quads, four numbers each. */
export interface RowLayout {
  readonly slots: readonly Slot[];
  /** Slots that kernels fill themselves begin here. */
  readonly extra: number;
  /** The quad of ridge and state; undefined where they lie in a buffer of their own, `rowInfo [heads, Tqp]`. */
  readonly info?: number;
  /**
   * The quad of what the head's prepared keys and values are multiples of, and of the keys' mean variance; where they are of
   * half precision.
   */
  readonly units?: number;
  /** Distance of two rows. */
  readonly quads: number;
}

/** Rows of all prepared tensors are padded to a multiple of this: whole tiles, however a kernel cuts them. */
export const ROW_PADDING = 64;

/** Padded length of a vector: a quad for each of the 8 threads of a row, and whole chunks of 64. */
export const paddedWidth = (width: number): number => (width <= 32 ? 32 : Math.ceil(width / 64) * 64);

/**
 * Distance in quads of vectors of so many that are read row by row: an odd one, so that those of neighbouring rows lie in
 * different banks of a core's memory.
 */
export const vectorStride = (quads: number): number => quads + 1;

/** Distance in quads of prepared keys or values; `isSpread`: they are rows of a kernel, too (gradients in float32). */
export const keyStride = (padded: number, isSpread: boolean): number =>
  isSpread ? vectorStride(padded / 4) : padded / 4;

/** Slots side by side and `extra` numbers behind them. */
export function plainRowLayout(rows: readonly Omit<Slot, 'padded' | 'offset'>[], extra = 0): RowLayout {
  let offset = 0;
  const slots = rows.map((row) => {
    const slot = { ...row, padded: paddedWidth(row.width), offset };
    offset += slot.padded / 4;
    return slot;
  });
  return { slots, extra: offset, quads: offset + extra / 4 };
}

/** A layout whose rows hold their info. */
export type InfoRowLayout = RowLayout & { readonly info: number };

/** The same with the row's info behind it, for kernels that have no binding left for a buffer of it, and units. */
export function rowLayout(
  rows: readonly Omit<Slot, 'padded' | 'offset'>[],
  { extra = 0, hasUnits = false }: { readonly extra?: number; readonly hasUnits?: boolean } = {},
): InfoRowLayout {
  const plain = plainRowLayout(rows, extra);
  const { quads: info } = plain;
  return hasUnits ? { ...plain, info, units: info + 1, quads: info + 2 } : { ...plain, info, quads: info + 1 };
}

/** Expression: quad `c` (an expression) of a slot that begins at `offset`, in row `row` (an expression) of all rows. */
export const rowQuad = ({ quads }: RowLayout, row: string, offset: number, c: string): string =>
  `rows[${row} * ${quads}u + ${offset}u + ${c}]`;
