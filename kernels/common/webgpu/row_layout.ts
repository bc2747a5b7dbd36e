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
}

/** How prepared query rows lie in their buffer, `[heads, Tqp, quads]`; all in quads, four numbers each. */
export interface RowLayout {
  readonly slots: readonly Slot[];
  /** Slots that kernels fill themselves begin here. */
  readonly extra: number;
  /** The quad of ridge and state. */
  readonly info: number;
  /** Distance of two rows. */
  readonly quads: number;
}

/** Padded length of a vector: a quad for each of the 8 threads of a row, and whole chunks of 64. */
export const paddedWidth = (width: number): number => (width <= 32 ? 32 : Math.ceil(width / 64) * 64);

/** Slots side by side, `extra` numbers behind them, and the row's info. */
export function rowLayout(rows: readonly Omit<Slot, 'padded' | 'offset'>[], extra = 0): RowLayout {
  let offset = 0;
  const slots = rows.map((row) => {
    const slot = { ...row, padded: paddedWidth(row.width), offset };
    offset += slot.padded / 4;
    return slot;
  });
  const info = offset + extra / 4;
  return { slots, extra: offset, info, quads: info + 1 };
}

/** Expression: quad `c` (an expression) of a slot that begins at `offset`, in row `row` (an expression) of all rows. */
export const rowQuad = ({ quads }: RowLayout, row: string, offset: number, c: string): string =>
  `rows[${row} * ${quads}u + ${offset}u + ${c}]`;
