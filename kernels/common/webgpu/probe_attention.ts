import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import type { Binding, Output, WebGpuCall } from './call.js';
import { gradientKeysShader, keyInfoShader } from './gradient_keys.wgsl.js';
import { gradientRowsShader, type ProbeKind } from './gradient_rows.wgsl.js';
import { forPrepared, hasKeyTerms, type Preparation, type Prepared } from './prepared.js';
import { paddedWidth, type InfoRowLayout, rowLayout } from './row_layout.js';
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
    tile: chooseTile(call.device, accumulated, use),
    Dp: paddedWidth(D),
    Dvp: paddedWidth(Dv),
    isAlignedD: D % 4 === 0,
    isAlignedDv: Dv % 4 === 0,
    hasKeyTerms: hasKeyTerms(call),
    isSecond,
  };
}

/** The shape of the same kernel by matrices, where the call permits half precision and the device has them. */
export function matrixShape(call: WebGpuCall<SoftmaxAttentionAttrs>, use: TileUse): AttentionShape | undefined {
  if (call.attrs.precision !== 'fast') return undefined;
  const { D, Dv } = call.dims;
  const tile = chooseMatrixTile(call.device, Math.max(paddedWidth(D), paddedWidth(Dv)), use);
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
  /** The shape of a kernel for the rows. */
  readonly shape: AttentionShape;
  /** Everything that a shader of the gradient may bind. */
  readonly buffers: Readonly<Record<string, Binding>>;
  readonly params: Readonly<Record<string, number>>;
}

/** Runs the rows' part of a gradient without a solve. */
function gradientRows({ call, prepared, layout, shape, buffers, params }: GradientPass, probe: ProbeKind): void {
  const shader = gradientRowsShader(shape, layout, probe, false);
  call.run(shader, buffers, params, [prepared.heads, prepared.Tqp / blockRowsOf(shape.tile)]);
}

/**
 * Gradient of an operator of the softmax family: `layout` names the prepared rows (query, dout, the probe if there is one),
 * `rows` runs the part that belongs to queries; by default the one without a solve.
 */
export function probeAttentionGradient(
  call: WebGpuCall<SoftmaxAttentionAttrs>,
  layout: InfoRowLayout,
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
  const areKeysSpread = true;
  const shape = { ...attentionShape(call, 2 * Dp, probe === 'solved' ? 'keptWeights' : 'passes'), areKeysSpread };
  const keyShape = { ...attentionShape(call, Dp + Dvp, 'passes'), areKeysSpread };
  const keysShader = gradientKeysShader(keyShape, layout, probe, call.has('keyBias'));
  const isCentred = probe !== 'none';
  forPrepared(call, { ...preparation, layout, isCentred, areKeysSpread }, (prepared) => {
    const { heads, Tqp, Tkp } = prepared;
    const terms = call.scratch(16 * heads * Tqp);
    const keyInfo = call.scratch(8 * heads * Tkp);
    const buffers = { ...prepared.buffers, ...bound, terms, keyInfo };
    const params = { ...prepared.params, scale: call.attrs.scale, logScale: logScale(call) };
    rows({ call, prepared, layout, shape, buffers, params }, gradients);
    call.run(keyInfoShader(), buffers, params, [Tkp / 64, heads]);
    call.run(keysShader, buffers, params, [heads, Math.ceil(Tkp / blockRowsOf(keyShape.tile))]);
  });
  return spec.differentiable.map((name) => gradients[name]);
}
