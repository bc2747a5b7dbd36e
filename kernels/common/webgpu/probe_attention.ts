import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import type { Binding, Output, WebGpuCall } from './call.js';
import { gradientKeysShader, keyInfoShader } from './gradient_keys.wgsl.js';
import { gradientRowsShader, type ProbeKind } from './gradient_rows.wgsl.js';
import { forPrepared, hasKeyTerms, type Preparation, type Prepared } from './prepared.js';
import { paddedWidth, type InfoRowLayout, rowLayout } from './row_layout.js';
import { type AttentionShape, probeAttentionShader } from './probe_attention.wgsl.js';
import { chooseTile, type TileUse } from './tile.js';
import { blockRowsOf } from './tile.wgsl.js';

/** The shape of a kernel for a call; `accumulated` numbers are summed up per row. */
export function attentionShape(
  call: WebGpuCall<SoftmaxAttentionAttrs>,
  accumulated: number,
  use: TileUse,
): AttentionShape {
  const { D, Dv } = call.dims;
  return {
    tile: chooseTile(call.device, accumulated, use),
    Dp: paddedWidth(D),
    Dvp: paddedWidth(Dv),
    isAlignedD: D % 4 === 0,
    isAlignedDv: Dv % 4 === 0,
    hasKeyTerms: hasKeyTerms(call),
  };
}

/** Scores in units of log2: what they are multiplied by. */
export const logScale = (call: WebGpuCall<SoftmaxAttentionAttrs>): number => call.attrs.scale * Math.LOG2E;

/** Forward pass of softmax attention or, with the input `probe`, of Parallax. */
export function probeAttention(call: WebGpuCall<SoftmaxAttentionAttrs>, hasProbe: boolean): Output {
  const { D, Dv } = call.dims;
  const shape = attentionShape(call, (hasProbe ? 2 : 1) * paddedWidth(Dv), hasProbe ? 'passes' : 'onePass');
  const out = call.output(call.resultShape);
  const rows = [{ name: 'query', width: D }, ...(hasProbe ? [{ name: 'probe', width: D, isNegated: true }] : [])];
  const layout = rowLayout(rows);
  const shader = probeAttentionShader(shape, layout, hasProbe);
  forPrepared(call, { layout, isCentred: hasProbe }, ({ heads, Tqp, buffers, params }) => {
    call.run(
      shader,
      { ...buffers, out: out.buffer },
      { ...params, scale: call.attrs.scale, logScale: logScale(call) },
      [heads, Math.ceil(Tqp / blockRowsOf(shape.tile))],
    );
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
  const shape = attentionShape(call, 2 * Dp, probe === 'solved' ? 'keptWeights' : 'passes');
  const keyShape = attentionShape(call, Dp + Dvp, 'passes');
  const keysShader = gradientKeysShader(keyShape, layout, probe, call.has('keyBias'));
  forPrepared(call, { ...preparation, layout, isCentred: probe !== 'none' }, (prepared) => {
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
