import { type ComposedKernel, runForward, runGradient } from '../common/composed/call.js';
import { composedProbeAttention, composedProbeAttentionGradient } from '../common/composed/probe_attention.js';
import { type SoftmaxAttentionAttrs, softmaxAttentionSpec as spec } from './spec.js';

/** `out [..., Tq, Dv]`: the probe is zero. */
export const softmaxAttentionComposed: ComposedKernel = (call) =>
  runForward(spec, call, true, (problem) => [composedProbeAttention(problem, call.attrs as SoftmaxAttentionAttrs).out]);

export const softmaxAttentionGradComposed: ComposedKernel = (call) =>
  runGradient(spec, call, true, (problem) => {
    const dout = problem.rows('dout');
    return { ...composedProbeAttentionGradient(problem, call.attrs as SoftmaxAttentionAttrs, dout) };
  });
