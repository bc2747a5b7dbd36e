import type { AttentionDims } from '../dims.js';
import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import type { Binding, Output, WebGpuCall } from './call.js';
import { gradientImagesShader, imageQuads, imagesOf } from './gradient_images.wgsl.js';
import { gradientKeysShader, keyInfoShader } from './gradient_keys.wgsl.js';
import { gradientRowsShader, type ProbeKind } from './gradient_rows.wgsl.js';
import { ROWS } from './prepare.wgsl.js';
import { forPrepared, hasKeyTerms, headGroups, paddedRows, type Preparation, type Prepared } from './prepared.js';
import { checkedInputsShader } from './raw_inputs.wgsl.js';
import { paddedWidth, type InfoRowLayout, ROW_PADDING, rowLayout, type Slot } from './row_layout.js';
import { type AttentionShape, probeAttentionShader } from './probe_attention.wgsl.js';
import { flagBytes } from './coarse_tiles.wgsl.js';
import { chooseMatrixTile, chooseTile, type TileUse } from './tile.js';
import { blockRowsOf } from './tile.wgsl.js';

/** The shape of a kernel in float32 for a call; `accumulated` numbers are summed up per row. */
export function attentionShape(
  call: WebGpuCall<SoftmaxAttentionAttrs>,
  accumulated: number,
  use: TileUse,
  isSecond = false,
): AttentionShape {
  const { D, Dv } = call.dims;
  return {
    tile: chooseTile(call.device, accumulated, use, isSecond),
    Dp: paddedWidth(D),
    Dvp: paddedWidth(Dv),
    isAlignedD: D % 4 === 0,
    isAlignedDv: Dv % 4 === 0,
    hasKeyTerms: hasKeyTerms(call),
    isSecond,
  };
}

/** The shape of the same kernel by matrices, where the call permits half precision and the device has them. */
export function matrixShape(
  call: WebGpuCall<SoftmaxAttentionAttrs>,
  use: TileUse,
  regions?: number,
): AttentionShape | undefined {
  if (call.attrs.precision !== 'fast') return undefined;
  const { D, Dv } = call.dims;
  const tile = chooseMatrixTile(call.device, Math.max(paddedWidth(D), paddedWidth(Dv)), use, regions);
  return tile && { ...attentionShape(call, D, use), tile };
}

/** Flags of tiles that half precision is too coarse for, none yet. */
export function clearedFlags(call: WebGpuCall<SoftmaxAttentionAttrs>, { heads, Tqp }: Prepared): GPUBuffer {
  const flags = call.scratch(flagBytes(heads, Tqp));
  call.clear(flags);
  return flags;
}

/** Scores in units of log2: what they are multiplied by. */
export const logScale = (call: WebGpuCall<SoftmaxAttentionAttrs>): number => call.attrs.scale * Math.LOG2E;

/**
 * Whether a softmax kernel can read the call's own keys and values: as wide as prepared ones, in whole tiles, none hidden.
 */
const canBeRaw = ({ Dp, Dvp, hasKeyTerms }: AttentionShape, { D, Dv, Tk }: AttentionDims): boolean =>
  !hasKeyTerms && Dp === D && Dvp === Dv && Tk % ROW_PADDING === 0;

/** Softmax attention of keys and values as the caller gave them: copies of them would cost 4 % of 32 x 2048 x 64, causal. */
function rawAttention(
  call: WebGpuCall<SoftmaxAttentionAttrs>,
  shape: AttentionShape,
  layout: InfoRowLayout,
  out: Output,
): void {
  const { Tq, Tk, D, Dv } = call.dims;
  const rowFloats = 4 * paddedRows(Tq) * layout.quads;
  const groups = headGroups(call, Math.max(rowFloats, Tk * Math.max(D, Dv)));
  const most = groups[0].heads;
  const [key, value] = [call.input('key'), call.input('value')];
  const [rows, marks] = [call.scratch(4 * most * rowFloats), call.scratch(16 * most)];
  for (const { firstHead, heads, params: sizes } of groups) {
    const params = { ...sizes, logScale: logScale(call) };
    const part = (buffer: GPUBuffer, width: number): GPUBufferBinding => ({
      buffer,
      offset: 4 * firstHead * Tk * width,
      size: 4 * heads * Tk * width,
    });
    const [preparedKey, preparedValue] = [part(key, D), part(value, Dv)];
    call.clear(marks);
    call.run(checkedInputsShader(layout, D, Dv), { query: call.input('query'), key, value, rows, marks }, params, [
      (sizes.Tqp + Tk) / ROWS,
      heads,
    ]);
    call.run(
      probeAttentionShader(shape, layout, false, true),
      { rows, preparedKey, preparedValue, marks, out: out.buffer },
      { ...params, scale: call.attrs.scale },
      [heads, Math.ceil(sizes.Tqp / blockRowsOf(shape.tile))],
    );
  }
}

/** Forward pass of softmax attention or, with the input `probe`, of Parallax. */
export function probeAttention(call: WebGpuCall<SoftmaxAttentionAttrs>, hasProbe: boolean): Output {
  const { D, Dv } = call.dims;
  const use = hasProbe ? 'passes' : 'onePass';
  const byMatrices = matrixShape(call, use);
  const shape = attentionShape(call, (hasProbe ? 2 : 1) * paddedWidth(Dv), use, byMatrices !== undefined);
  const out = call.output(call.resultShape);
  const rows = [{ name: 'query', width: D }, ...(hasProbe ? [{ name: 'probe', width: D, isNegated: true }] : [])];
  const layout = rowLayout(rows, { hasUnits: byMatrices !== undefined });
  const isCentred = hasProbe || byMatrices !== undefined;
  if (!isCentred && canBeRaw(shape, call.dims)) {
    rawAttention(call, shape, layout, out);
    return out;
  }
  forPrepared(call, { layout, isCentred }, (prepared) => {
    const { heads, Tqp, buffers } = prepared;
    const params = { ...prepared.params, scale: call.attrs.scale, logScale: logScale(call) };
    const run = (of: AttentionShape, others: Readonly<Record<string, Binding>> = {}): void => {
      call.run(probeAttentionShader(of, layout, hasProbe), { ...buffers, ...others, out: out.buffer }, params, [
        heads,
        Math.ceil(Tqp / blockRowsOf(of.tile)),
      ]);
    };
    if (byMatrices === undefined) {
      run(shape);
      return;
    }
    const flags = clearedFlags(call, prepared);
    run(byMatrices, { flags });
    run(shape, { ...prepared.prepareFlagged(flags), flags });
  });
  return out;
}

/** The outputs of a gradient by the name of their input. */
type Gradients = Readonly<Record<string, Output | undefined>>;

/** What the rows' part of a gradient is given. */
export interface GradientPass {
  readonly call: WebGpuCall<SoftmaxAttentionAttrs>;
  readonly prepared: Prepared;
  readonly layout: InfoRowLayout;
  /** The shape of a kernel for the rows in float32; of only those that are flagged, if there is one by matrices. */
  readonly shape: AttentionShape;
  readonly byMatrices?: AttentionShape;
  /** What the kernel in float32 is given otherwise than the one by matrices, which it follows. */
  readonly prepareFlagged: () => Readonly<Record<string, Binding>>;
  /** Everything that a shader of the gradient may bind. */
  readonly buffers: Readonly<Record<string, Binding>>;
  readonly params: Readonly<Record<string, number>>;
}

/** Runs the rows' part of a gradient without a solve. */
function gradientRows(pass: GradientPass, probe: ProbeKind): void {
  const { call, prepared, layout, shape, byMatrices, prepareFlagged, buffers, params } = pass;
  const run = (of: AttentionShape, others: Readonly<Record<string, Binding>>): void => {
    const shader = gradientRowsShader(of, layout, probe, false);
    call.run(shader, { ...buffers, ...others }, params, [prepared.heads, prepared.Tqp / blockRowsOf(of.tile)]);
  };
  if (byMatrices) run(byMatrices, {});
  run(shape, prepareFlagged());
}

/**
 * Gradient of an operator of the softmax family: `slots` names the prepared rows (query, dout, the probe if there is one),
 * `rows` runs the part that belongs to queries; by default the one without a solve.
 */
export function probeAttentionGradient(
  call: WebGpuCall<SoftmaxAttentionAttrs>,
  slots: readonly Omit<Slot, 'padded' | 'offset'>[],
  probe: ProbeKind,
  preparation: Omit<Preparation, 'layout' | 'isCentred'> = {},
  rows: (pass: GradientPass, gradients: Gradients) => void = (pass) => gradientRows(pass, probe),
): readonly (Output | undefined)[] {
  const { spec, dims } = call;
  const [Dp, Dvp] = [paddedWidth(dims.D), paddedWidth(dims.Dv)];
  const gradients: Gradients = Object.fromEntries(spec.differentiable.map((name) => [name, call.gradientOf(name)]));
  const bound = Object.fromEntries(
    Object.entries(gradients).flatMap(([name, output]) => (output ? [[`d${name}`, output.buffer] as const] : [])),
  );
  const isSolved = probe === 'solved';
  const use = isSolved ? 'keptWeights' : 'passes';
  const keysByMatrices = matrixShape(call, 'keys', slots.length + (isSolved ? 1 : 0));
  // Of tiles that are no more than the rows that share a flag and that prepared rows are padded to.
  const byMatrices = keysByMatrices && matrixShape(call, 'gradientRows');
  const hasUnits = byMatrices !== undefined;
  const shape = attentionShape(call, 2 * Dp, use, hasUnits);
  const keyShape = attentionShape(call, Dp + Dvp, 'keys', hasUnits);
  // By matrices a row has its largest weights as well.
  const layout = rowLayout(slots, { extra: (isSolved ? 2 * Dp : 0) + (hasUnits ? 4 : 0), hasUnits });
  const hasBias = call.has('keyBias');
  const rowImages = 4 * imageQuads(imagesOf(layout, probe));
  const isCentred = probe !== 'none' || hasUnits;
  // Keys and values in float32 are rows of the gradient of keys.
  const areKeysSpread = true;
  forPrepared(call, { ...preparation, layout, isCentred, hasCentredValues: hasUnits, areKeysSpread }, (prepared) => {
    const { heads, Tqp, Tkp } = prepared;
    const terms = call.scratch(16 * heads * Tqp);
    const keyInfo = call.scratch(8 * heads * Tkp);
    const flags = hasUnits ? clearedFlags(call, prepared) : undefined;
    const buffers = { ...prepared.buffers, ...bound, terms, keyInfo, ...(flags && { flags }) };
    const params = { ...prepared.params, scale: call.attrs.scale, logScale: logScale(call) };
    let inFloat: Readonly<Record<string, Binding>> = {};
    const prepareFlagged = (): Readonly<Record<string, Binding>> => {
      if (flags) inFloat = prepared.prepareFlagged(flags);
      return inFloat;
    };
    rows({ call, prepared, layout, shape, byMatrices, prepareFlagged, buffers, params }, gradients);
    call.run(keyInfoShader(), buffers, params, [Tkp / 64, heads]);
    const runKeys = (of: AttentionShape, others: Readonly<Record<string, Binding>>): void => {
      const shader = gradientKeysShader(of, layout, probe, hasBias);
      call.run(shader, { ...buffers, ...others }, params, [heads, Math.ceil(Tkp / blockRowsOf(of.tile))]);
    };
    if (keysByMatrices && byMatrices) {
      const images = call.scratch(2 * rowImages * heads * Tqp);
      const records = call.scratch(32 * heads * Tqp);
      const largest = call.scratch(8 * heads);
      call.clear(largest);
      const made = { images, records, largest };
      call.run(gradientImagesShader(layout, probe), { ...buffers, ...made }, params, [Tqp / ROWS, heads]);
      runKeys(keysByMatrices, made);
    }
    runKeys(keyShape, inFloat);
  });
  return spec.differentiable.map((name) => gradients[name]);
}
