import type { AttentionAttrs } from '../spec.js';
import type { WebGpuCall } from './call.js';
import { type ElementMap, keyStride, paddedWidth, ROW_PADDING, type RowLayout, type Slot } from './row_layout.js';
import { centreShader, foldMaskShader, type RidgeSource, rowsShader } from './prepare.wgsl.js';
import { type KeyForm, keysShader } from './prepare_keys.wgsl.js';

/** Rows that a workgroup of the preparing shaders takes. */
const ROWS_PER_WORKGROUP = 16;

/** A call's inputs for some of its heads, as the kernels read them (prepare.wgsl.ts). */
export interface Prepared {
  readonly firstHead: number;
  readonly heads: number;
  readonly Tqp: number;
  readonly Tkp: number;
  /** Prepared tensors by the names under which shaders know them. */
  readonly buffers: Readonly<Record<string, GPUBuffer>>;
  /** Uniforms that every shader may ask for. */
  readonly params: Readonly<Record<string, number>>;
  /**
   * Where keys and values were prepared as half-precision numbers (`layout.units`): prepares what flagged tiles see of them
   * in float32 (coarse_tiles.wgsl.ts), and gives the buffers that stand for the others.
   */
  readonly prepareFlagged: (flags: GPUBuffer) => Readonly<Record<string, GPUBuffer>>;
}

export interface Preparation {
  readonly layout: RowLayout;
  /** Applied to the elements of keys that are kept. */
  readonly keyMap?: ElementMap;
  /** Numbers a head of what else the kernels bind: heads are taken together while all of it can be bound. */
  readonly floatsPerHead?: number;
  /** Whether a vector is subtracted from all keys of a head: for the operators that this changes nothing for. */
  readonly isCentred: boolean;
  /** The same for values: for gradients, which tell no vector that all values of a head have in common. */
  readonly hasCentredValues?: boolean;
  /** Whether keys and values in float32 lie `vectorStride` apart, for kernels whose rows they are. */
  readonly areKeysSpread?: boolean;
  /** A ridge per row: the input of that name where it is given, else this number. */
  readonly ridge?: number;
  /** A ridge below this times the mean variance of the keys counts as small. */
  readonly smallRidge?: number;
}

/** Whether something is added to the scores: a bias, or what hides a masked key. */
export const hasKeyTerms = <Attrs extends AttentionAttrs>(call: WebGpuCall<Attrs>): boolean =>
  call.has('keyMask') || call.has('keyBias');

/** A length as prepared tensors have it: whole tiles. */
export const paddedRows = (T: number): number => Math.ceil(T / ROW_PADDING) * ROW_PADDING;

/** Some of a call's heads, which kernels take together, and the uniforms that every shader may ask for. */
export interface HeadGroup {
  readonly firstHead: number;
  readonly heads: number;
  readonly params: Readonly<Record<string, number>>;
}

/**
 * The heads of a call in groups of which every tensor of `floatsPerHead` numbers a head can be bound: 128 MiB within the default
 * limits. Each group uses the same buffers, so they are bounded, whatever the number of heads; none is larger than the first.
 */
export function headGroups<Attrs extends AttentionAttrs>(
  { device, dims, attrs }: WebGpuCall<Attrs>,
  floatsPerHead: number,
): readonly [HeadGroup, ...HeadGroup[]] {
  const { maxStorageBufferBindingSize, maxComputeWorkgroupsPerDimension } = device.limits;
  const { Tq, Tk, D, Dv } = dims;
  const fitting = Math.floor(maxStorageBufferBindingSize / (4 * floatsPerHead));
  const count = Math.max(1, Math.min(dims.heads, fitting, maxComputeWorkgroupsPerDimension));
  const group = (firstHead: number): HeadGroup => {
    const heads = Math.min(count, dims.heads - firstHead);
    const headsPerBatch = dims.heads / dims.batch;
    const [Tqp, Tkp, Dp, isCausal] = [paddedRows(Tq), paddedRows(Tk), paddedWidth(D), attrs.causal ? 1 : 0];
    return {
      firstHead,
      heads,
      params: { firstHead, heads, headsPerBatch, Tq, Tk, Tqp, Tkp, D, Dv, Dp, isCausal, nan: NaN },
    };
  };
  const others = Array.from({ length: Math.ceil(dims.heads / count) - 1 }, (_, i) => group((i + 1) * count));
  return [group(0), ...others];
}

/** Prepares a call's inputs, group of heads by group of heads, and calls `body` for each. */
export function forPrepared<Attrs extends AttentionAttrs>(
  call: WebGpuCall<Attrs>,
  preparation: Preparation,
  body: (prepared: Prepared) => void,
): void {
  const { dims } = call;
  const { Tq, Tk, D, Dv } = dims;
  const {
    isCentred,
    hasCentredValues = false,
    layout,
    smallRidge = 0,
    floatsPerHead = 0,
    areKeysSpread = false,
  } = preparation;
  const [Tqp, Tkp] = [paddedRows(Tq), paddedRows(Tk)];
  const [Dp, Dvp] = [paddedWidth(D), paddedWidth(Dv)];
  const spread = (padded: number): number => 4 * keyStride(padded, areKeysSpread);
  const groups = headGroups(call, Math.max(4 * Tqp * layout.quads, Tkp * spread(Math.max(Dp, Dvp)), floatsPerHead));
  const most = groups[0].heads;
  const isHalf = layout.units !== undefined;
  const keyBuffers = (bytesOf: (padded: number) => number) => ({
    preparedKey: call.scratch(most * Tkp * bytesOf(Dp)),
    preparedValue: call.scratch(most * Tkp * bytesOf(Dvp)),
  });
  const floatBytes = (padded: number): number => 4 * spread(padded);
  const floatBuffers = isHalf ? keyBuffers(floatBytes) : undefined;
  const buffers = {
    ...keyBuffers(isHalf ? (padded) => 2 * padded : floatBytes),
    keyTerms: call.scratch(4 * most * Tkp),
    rows: call.scratch(16 * most * Tqp * layout.quads),
    ...(layout.info === undefined && { rowInfo: call.scratch(8 * most * Tqp) }),
    marks: call.scratch(16 * most),
    ...(isCentred && { centre: call.scratch(4 * most * (Dp + 1)) }),
    ...(hasCentredValues && { valueCentre: call.scratch(4 * most * (Dvp + 1)) }),
    ...(isHalf && { units: call.scratch(8 * most) }),
  };
  const isFolded = call.has('keyMask') && call.has('keyBias');
  const keyInputs = { hasMask: call.has('keyMask') && !isFolded, hasBias: call.has('keyBias') };
  const given = Object.fromEntries(
    ['keyMask', 'keyBias', 'ridge'].filter((name) => call.has(name)).map((name) => [name, call.input(name)]),
  );
  const foldedBias = isFolded ? call.scratch(4 * dims.heads * Tk) : undefined;
  const optional = { ...given, ...(foldedBias && { keyBias: foldedBias }) };
  const inputs = Object.fromEntries(layout.slots.map(({ name }) => [name, call.input(name)]));
  const keySource = { key: call.input('key'), value: call.input('value'), ...optional };
  const ridge: RidgeSource = preparation.ridge === undefined ? 'none' : call.has('ridge') ? 'tensor' : 'number';
  const { keyMap } = preparation;
  const keySlot = { name: 'key', width: D, padded: Dp, offset: 0, ...(keyMap && { map: keyMap }) };
  const valueSlot = { name: 'value', width: Dv, padded: Dvp, offset: 0 };

  for (const { firstHead, heads, params: shared } of groups) {
    call.clear(buffers.marks);
    if (buffers.units) call.clear(buffers.units);
    if (foldedBias) call.run(foldMaskShader(), { ...given, foldedBias }, shared, [Math.ceil(Tk / 256), heads]);
    const findCentre = (slot: Slot, centre?: GPUBuffer): void => {
      if (centre) call.run(centreShader(keyInputs, slot), { ...keySource, centre }, shared, [heads]);
    };
    findCentre(keySlot, buffers.centre);
    findCentre(valueSlot, buffers.valueCentre);
    const prepareKeys = (form: KeyForm, others: Readonly<Record<string, GPUBuffer>> = {}): void => {
      const centred = { key: isCentred, value: hasCentredValues };
      const shader = keysShader(keyInputs, keySlot, valueSlot, centred, form, areKeysSpread && form !== 'half');
      call.run(shader, { ...keySource, ...buffers, ...others }, shared, [Tkp / ROWS_PER_WORKGROUP, heads]);
    };
    if (isHalf) prepareKeys('bounds');
    prepareKeys(isHalf ? 'half' : 'float');
    call.run(
      rowsShader(layout, ridge, isCentred),
      { ...inputs, ...optional, ...buffers },
      { ...shared, smallRidge, ...(ridge === 'number' && { ridge: preparation.ridge ?? 1 }) },
      [Tqp / ROWS_PER_WORKGROUP, heads],
    );
    const prepareFlagged = (flags: GPUBuffer): Readonly<Record<string, GPUBuffer>> => {
      if (floatBuffers === undefined) throw new Error('keys and values are float32 already');
      prepareKeys('flagged', { ...floatBuffers, flags });
      return floatBuffers;
    };
    body({ firstHead, heads, Tqp, Tkp, buffers, params: shared, prepareFlagged });
  }
}
