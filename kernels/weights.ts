import { add, matMul, mul, neg, type Tensor, type Tensor3D, tidy } from '@tensorflow/tfjs-core';

import { LinearMarks } from './common/composed/linear_marks.js';
import { centredProducts, weightBlock } from './common/composed/probe_attention.js';
import { type ComposedCall, ComposedProblem, markBad } from './common/composed/problem.js';
import type { OperatorSpec } from './common/spec.js';
import { LinearProblem } from './linear_attention/composed.js';
import type { LinearAttentionAttrs } from './linear_attention/spec.js';
import type { SoftmaxAttentionAttrs } from './softmax_attention/spec.js';

/** `p_ij (1 + y_j.x_i)`, `[heads, Tq, Tk]`: softmax, Parallax (whose input `probe` is `-x`) and local linear attention. */
export function probeWeights(spec: OperatorSpec, call: ComposedCall): Tensor {
  return tidy(() => {
    const problem = new ComposedProblem(spec, call, true);
    const isGiven = spec.differentiable.includes('probe');
    const probe = problem.optional('probe') && problem.rows('probe');
    const block = weightBlock(problem, (call.attrs as SoftmaxAttentionAttrs).scale, 0, problem.dims.Tq);
    if (probe === undefined) return markBad(block.block.bad, block.weights);
    const x: Tensor3D = isGiven ? neg(probe) : probe;
    return markBad(block.block.bad, mul<Tensor3D>(block.weights, add(centredProducts(block, x), 1)));
  });
}

/** `a_ij / n_i`, or `a_ij` without normalisation, `[heads, Tq, Tk]`. */
export function linearWeights(spec: OperatorSpec, call: ComposedCall): Tensor {
  return tidy(() => {
    const problem = new ComposedProblem(spec, call, false);
    const { queryFeatures, keyFeatures, factor, marks } = new LinearProblem(
      problem,
      call.attrs as LinearAttentionAttrs,
    );
    const products: Tensor3D = mul(matMul(queryFeatures, keyFeatures, false, true), factor);
    return marks.markRows(mul(products, problem.block(0, problem.dims.Tq).visible));
  });
}

/** `x_i.k_j` for visible keys, `[heads, Tq, Tk]`; the input `probe` is `x`. */
export function mesaWeights(spec: OperatorSpec, call: ComposedCall): Tensor {
  return tidy(() => {
    const problem = new ComposedProblem(spec, call, false);
    const marks = new LinearMarks(problem);
    const x = problem.rows('probe');
    const products: Tensor3D = mul(matMul(x, problem.key, false, true), problem.block(0, problem.dims.Tq).visible);
    return marks.markRows(products);
  });
}
