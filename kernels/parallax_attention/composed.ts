import { neg, type Tensor3D } from '@tensorflow/tfjs-core';

import { type ComposedKernel, runForward, runGradient } from '../common/composed/call.js';
import {
  type ComposedProbe,
  composedProbeAttention,
  composedProbeAttentionGradient,
} from '../common/composed/probe_attention.js';
import type { ComposedProblem } from '../common/composed/problem.js';
import { type ParallaxAttentionAttrs, parallaxAttentionSpec as spec } from './spec.js';

/** `x = -r` for the fourth input `r`. */
function givenProbe(problem: ComposedProblem): ComposedProbe {
  const probe: Tensor3D = neg(problem.rows('probe'));
  return { find: ({ block }) => problem.blockRows(block, probe) };
}

/** `out [..., Tq, Dv]` */
export const parallaxAttentionComposed: ComposedKernel = (call) =>
  runForward(spec, call, true, (problem) => [
    composedProbeAttention(problem, call.attrs as ParallaxAttentionAttrs, givenProbe(problem)).out,
  ]);

export const parallaxAttentionGradComposed: ComposedKernel = (call) =>
  runGradient(spec, call, true, (problem) => {
    const dout = problem.rows('dout');
    const attrs = call.attrs as ParallaxAttentionAttrs;
    const gradients = composedProbeAttentionGradient(problem, attrs, dout, givenProbe(problem));
    return { ...gradients, ...(gradients.probe && { probe: neg(gradients.probe) }) };
  });
