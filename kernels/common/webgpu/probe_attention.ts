import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import type { Output, WebGpuCall } from './call.js';
import { forPrepared, hasKeyTerms } from './prepared.js';
import { paddedWidth, rowLayout } from './row_layout.js';
import { type AttentionShape, probeAttentionShader } from './probe_attention.wgsl.js';
import { chooseTile } from './tile.js';
import { blockRowsOf } from './tile.wgsl.js';

/** The shape of a kernel for a call; `accumulated` numbers are summed up per row. */
export function attentionShape(call: WebGpuCall<SoftmaxAttentionAttrs>, accumulated: number): AttentionShape {
  const { D, Dv } = call.dims;
  return {
    tile: chooseTile(call.device, accumulated),
    Dp: paddedWidth(D),
    Dvp: paddedWidth(Dv),
    D,
    Dv,
    isCausal: call.attrs.causal,
    hasKeyTerms: hasKeyTerms(call),
  };
}

/** Scores in units of log2: what they are multiplied by. */
export const logScale = (call: WebGpuCall<SoftmaxAttentionAttrs>): number => call.attrs.scale * Math.LOG2E;

/** Forward pass of softmax attention or, with the input `probe`, of Parallax. */
export function probeAttention(call: WebGpuCall<SoftmaxAttentionAttrs>, hasProbe: boolean): Output {
  const { D, Dv } = call.dims;
  const shape = attentionShape(call, (hasProbe ? 2 : 1) * paddedWidth(Dv));
  const out = call.output(call.resultShape);
  const rows = [{ name: 'query', width: D }, ...(hasProbe ? [{ name: 'probe', width: D, isNegated: true }] : [])];
  const layout = rowLayout(rows);
  const shader = probeAttentionShader(shape, layout, hasProbe);
  forPrepared(call, { layout, isCentred: hasProbe }, ({ heads, Tqp, buffers, params }) => {
    call.run(shader, { ...buffers, out: out.buffer }, { ...params, logScale: logScale(call) }, [
      heads,
      Math.ceil(Tqp / blockRowsOf(shape.tile)),
    ]);
  });
  return out;
}
