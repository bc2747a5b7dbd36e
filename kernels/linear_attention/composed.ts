import {
  add,
  concat,
  equal,
  exp,
  fill,
  greater,
  matMul,
  minimum,
  mul,
  neg,
  ones,
  onesLike,
  reciprocal,
  relu,
  reshape,
  slice,
  sub,
  sum,
  type Rank,
  type Tensor3D,
  tidy,
  transpose,
  where,
  zerosLike,
} from '@tensorflow/tfjs-core';

import { type ComposedKernel, runForward, runGradient } from '../common/composed/call.js';
import { LinearMarks } from '../common/composed/linear_marks.js';
import { overKeys, overRows } from '../common/composed/linear_product.js';
import { ComposedProblem } from '../common/composed/problem.js';
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

/** The sums over the keys of earlier steps, where a cache holds any: the inputs of a step's kernel. */
function sumsBefore(problem: ComposedProblem): Tensor3D | undefined {
  const [keySum, keyValueSum] = ['keySum', 'keyValueSum'].map((name) => problem.optional(name));
  if (!keySum || !keyValueSum) return undefined;
  const { heads, D } = problem.dims;
  return concat<Tensor3D>([keyValueSum as Tensor3D, reshape(keySum, [heads, D, 1])], 2);
}

/** Features and normalised output of a call; see `cpu.ts`, whose names these are. */
export class LinearProblem {
  readonly marks: LinearMarks;
  readonly queryFeatures: Tensor3D;
  readonly keyFeatures: Tensor3D;
  /** `[v_j, 1]`, `[heads, Tk, Dv + 1]` */
  readonly extendedValue: Tensor3D;
  /** `sum phi(k_j) [v_j, 1]^T` over the keys of earlier steps, `[heads, D, Dv + 1]`. */
  private readonly before: Tensor3D | undefined;
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
    this.before = sumsBefore(problem);
    let sums = overKeys(problem, this.queryFeatures, this.keyFeatures, this.extendedValue);
    if (this.before) sums = add(sums, matMul(this.queryFeatures, this.before));
    const normalizer: Tensor3D = slice(sums, [0, 0, Dv], [heads, Tq, 1]);
    const isZero = equal(normalizer, 0);
    const inverse = reciprocal<Tensor3D>(where(isZero, onesLike(normalizer), normalizer));
    this.factor = attrs.normalize
      ? where<Tensor3D>(isZero, zerosLike(normalizer), inverse)
      : fill([heads, Tq, 1], attrs.scale);
    this.out = mul(slice(sums, [0, 0, 0], [heads, Tq, Dv]), this.factor);
  }

  /** `dphi(q) [heads, Tq, D]` plus its part from the keys of earlier steps. */
  addBefore(dphiQ: Tensor3D, extendedCotangent: Tensor3D): Tensor3D {
    return this.before ? add(dphiQ, matMul(extendedCotangent, this.before, false, true)) : dphiQ;
  }
}

/** `out [..., Tq, Dv]`; with the inputs of a step's kernel besides, rows also see the keys of earlier steps. */
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
    const dphiQ = linear.addBefore(overKeys(problem, extendedCotangent, extendedValue, keyFeatures), extendedCotangent);
    const dphiK = overRows(problem, extendedCotangent, extendedValue, queryFeatures);
    return {
      query: marks.markRows(mul(dphiQ, phiDerivative(attrs.featureMap, problem.query))),
      key: marks.markKeys(mul(dphiK, phiDerivative(attrs.featureMap, problem.key))),
      value: marks.markKeys(overRows(problem, queryFeatures, keyFeatures, scaled)),
    };
  });

/** The sums of a step's kernel after its keys: `keySum`, `keyValueSum` and `count`, as new tensors. */
export const linearAttentionStateComposed: ComposedKernel = (call) =>
  tidy(() => {
    const problem = new ComposedProblem(spec, call, false);
    const { heads, D } = problem.dims;
    const { featureMap } = call.attrs as LinearAttentionAttrs;
    const usable: Tensor3D = transpose(sub<Tensor3D>(problem.visible, problem.badKey), [0, 2, 1]);
    const features = mul<Tensor3D>(phi(featureMap, problem.key), usable);
    return [
      add(problem.tensor('keySum'), reshape(sum(features, 1), [heads, D])),
      add(problem.tensor('keyValueSum'), matMul(features, problem.value, true, false)),
      problem.countAfter(problem.tensor('count')),
    ];
  });
