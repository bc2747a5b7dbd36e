import {
  add,
  concat,
  equal,
  exp,
  fill,
  greater,
  minimum,
  mul,
  neg,
  ones,
  onesLike,
  reciprocal,
  relu,
  slice,
  type Rank,
  type Tensor3D,
  transpose,
  where,
  zerosLike,
} from '@tensorflow/tfjs-core';

import { type ComposedKernel, runForward, runGradient } from '../common/composed/call.js';
import { LinearMarks } from '../common/composed/linear_marks.js';
import { overKeys, overRows } from '../common/composed/linear_product.js';
import type { ComposedProblem } from '../common/composed/problem.js';
import { rowDot } from '../common/composed/row_blocks.js';
import { toFloat32 } from '../common/to_float32.js';
import { type FeatureMap, type LinearAttentionAttrs, linearAttentionSpec as spec } from './spec.js';

function phi(name: FeatureMap, x: Tensor3D): Tensor3D {
  if (name === 'identity') return x;
  // elu(x) + 1 would lose exp(x) of a very negative x.
  return name === 'relu' ? relu(x) : add(relu(x), exp(minimum<Tensor3D>(x, 0)));
}

function phiDerivative(name: FeatureMap, x: Tensor3D): Tensor3D {
  if (name === 'identity') return onesLike(x);
  const isPositive = greater<Tensor3D>(x, 0);
  if (name === 'relu') return toFloat32(isPositive);
  return where<Tensor3D>(isPositive, onesLike(x), exp(minimum<Tensor3D>(x, 0)));
}

/** Features and normalised output of a call; see `cpu.ts`, whose names these are. */
export class LinearProblem {
  readonly marks: LinearMarks;
  readonly queryFeatures: Tensor3D;
  readonly keyFeatures: Tensor3D;
  /** `[v_j, 1]`, `[heads, Tk, Dv + 1]` */
  readonly extendedValue: Tensor3D;
  /** What the sums of a row are multiplied by, `[heads, Tq, 1]`. */
  readonly factor: Tensor3D;
  /** `[heads, Tq, Dv]` */
  readonly out: Tensor3D;

  constructor(problem: ComposedProblem, attrs: LinearAttentionAttrs) {
    const { heads, Tq, Tk, Dv } = problem.dims;
    this.marks = new LinearMarks(problem);
    const visible: Tensor3D = transpose(problem.visible, [0, 2, 1]);
    this.queryFeatures = this.marks.keepOrdinary(phi(attrs.featureMap, problem.query));
    this.keyFeatures = mul(phi(attrs.featureMap, problem.key), visible);
    this.extendedValue = concat([problem.value, ones<Rank.R3>([heads, Tk, 1])], 2);
    const sums = overKeys(problem, this.queryFeatures, this.keyFeatures, this.extendedValue);
    const normalizer: Tensor3D = slice(sums, [0, 0, Dv], [heads, Tq, 1]);
    const isZero = equal(normalizer, 0);
    const inverse = reciprocal<Tensor3D>(where(isZero, onesLike(normalizer), normalizer));
    this.factor = attrs.normalize
      ? where<Tensor3D>(isZero, zerosLike(normalizer), inverse)
      : fill([heads, Tq, 1], attrs.scale);
    this.out = mul(slice(sums, [0, 0, 0], [heads, Tq, Dv]), this.factor);
  }
}

/** `out [..., Tq, Dv]` */
export const linearAttentionComposed: ComposedKernel = (call) =>
  runForward(spec, call, false, (problem) => {
    const { out, marks } = new LinearProblem(problem, call.attrs as LinearAttentionAttrs);
    return [marks.markRows(out)];
  });

export const linearAttentionGradComposed: ComposedKernel = (call) =>
  runGradient(spec, call, false, (problem) => {
    const attrs = call.attrs as LinearAttentionAttrs;
    const dout = problem.rows('dout');
    const linear = new LinearProblem(problem, attrs);
    const { marks, queryFeatures, keyFeatures, extendedValue, factor, out } = linear;
    const g = marks.keepOrdinary(dout);
    const scaled = mul<Tensor3D>(g, factor);
    const last = attrs.normalize ? neg<Tensor3D>(rowDot(scaled, out)) : zerosLike(factor);
    // da_ij = [f g, -f g.o] . [v, 1]
    const extendedCotangent: Tensor3D = concat([scaled, last], 2);
    const dphiQ = overKeys(problem, extendedCotangent, extendedValue, keyFeatures);
    const dphiK = overRows(problem, extendedCotangent, extendedValue, queryFeatures);
    return {
      query: marks.markRows(mul(dphiQ, phiDerivative(attrs.featureMap, problem.query))),
      key: marks.markKeys(mul(dphiK, phiDerivative(attrs.featureMap, problem.key))),
      value: marks.markKeys(overRows(problem, queryFeatures, keyFeatures, scaled)),
    };
  });
