import { fill, greater, less, logicalAnd, mul, reshape, sub, type Tensor3D, where } from '@tensorflow/tfjs-core';

import { type ComposedKernel, runForward, runGradient } from '../common/composed/call.js';
import {
  type ComposedProbe,
  composedProbeAttention,
  composedProbeAttentionGradient,
} from '../common/composed/probe_attention.js';
import type { ComposedContext, ComposedProblem } from '../common/composed/problem.js';
import { blockRidge, solveBlock } from '../common/composed/solve.js';
import { type LocalLinearAttentionAttrs, localLinearAttentionSpec as spec } from './spec.js';

/** The ridge of every row, `[heads, Tq, 1]`, or one for all; a row whose ridge is unusable is declared bad and gets 1. */
function rowRidge(problem: ComposedProblem, attrs: LocalLinearAttentionAttrs): Tensor3D | number {
  const input = problem.optional('ridge');
  if (input === undefined) return attrs.ridge;
  const { heads, Tq } = problem.dims;
  const ridge: Tensor3D = reshape(input, [heads, Tq, 1]);
  const usable = logicalAnd(greater(ridge, 0), less(ridge, 3.4e38));
  problem.requireRows(usable);
  return where(usable, ridge, fill(ridge.shape, 1));
}

/** The probe that solves `(C + ridge I) x = q - kbar`. */
function solvedProbe(
  problem: ComposedProblem,
  attrs: LocalLinearAttentionAttrs,
  context: ComposedContext,
): ComposedProbe {
  const ridge = rowRidge(problem, attrs);
  return {
    find(weights) {
      const { block, query, kbar } = weights;
      // Both relative to the keys' centre; a row that is not ordinary asks for nothing.
      const centred = problem.centre ? sub(query, problem.centre) : query;
      const b = mul<Tensor3D>(sub(centred, kbar), block.ordinary);
      const ridges = blockRidge(ridge, problem.dims.heads, block.start, block.rows);
      return solveBlock(weights, b, ridges, attrs, context);
    },
  };
}

/** The probe that the forward pass saved, and the second solve of the gradient. */
function savedProbe(
  problem: ComposedProblem,
  attrs: LocalLinearAttentionAttrs,
  context: ComposedContext,
): ComposedProbe {
  const ridge = rowRidge(problem, attrs);
  const probe = problem.rows('probe');
  const ridgeOf = (start: number, rows: number): Tensor3D => blockRidge(ridge, problem.dims.heads, start, rows);
  return {
    find: ({ block }) => problem.blockRows(block, probe),
    solveAdjoint: (weights, N) =>
      solveBlock(weights, N, ridgeOf(weights.block.start, weights.block.rows), attrs, context),
    ridge: ({ start, rows }) => ridgeOf(start, rows),
  };
}

/** `out [..., Tq, Dv]` and `probe [..., Tq, D]`. */
export const localLinearAttentionComposed: ComposedKernel = (call, context) =>
  runForward(spec, call, true, (problem) => {
    const attrs = call.attrs as LocalLinearAttentionAttrs;
    const { out, probe } = composedProbeAttention(problem, attrs, solvedProbe(problem, attrs, context));
    return [out, probe];
  });

export const localLinearAttentionGradComposed: ComposedKernel = (call, context) =>
  runGradient(spec, call, true, (problem) => {
    const attrs = call.attrs as LocalLinearAttentionAttrs;
    const dout = problem.rows('dout');
    return { ...composedProbeAttentionGradient(problem, attrs, dout, savedProbe(problem, attrs, context)) };
  });
