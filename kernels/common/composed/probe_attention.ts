import {
  add,
  cast,
  div,
  exp,
  fill,
  matMul,
  max,
  maximum,
  mul,
  neg,
  reshape,
  sub,
  sum,
  type Tensor,
  type Rank,
  type Tensor3D,
  tidy,
  where,
} from '@tensorflow/tfjs-core';

import type { SoftmaxAttentionAttrs } from '../../softmax_attention/spec.js';
import type { ComposedProblem, RowBlock } from './problem.js';
import { forRowBlocks, KeySum, rowDot, RowResults, seenByBad } from './row_blocks.js';

/** The softmax weights of a block of rows, and what else its rows need. All tensors are `[heads, rows, ...]`. */
export interface WeightBlock {
  readonly block: RowBlock;
  /** `[heads, rows, D]`, zeros where the row is not ordinary. */
  readonly query: Tensor3D;
  /** `[heads, keys, D]` */
  readonly key: Tensor3D;
  /** `[heads, keys, Dv]` */
  readonly value: Tensor3D;
  /** `p [heads, rows, keys]`, 0 where the row does not see the key. */
  readonly weights: Tensor3D;
  /** `[heads, rows, D]`, relative to the keys' centre. */
  readonly kbar: Tensor3D;
  /** Mean over channels of the variance of the visible keys, `[heads, 1, 1]`. */
  readonly variance: Tensor3D;
}

/** Where the probe of an operator comes from; the formula is the same for all (operator.md, "the family"). */
export interface ComposedProbe {
  /** `[heads, rows, D]` */
  find(weights: WeightBlock): Tensor3D;
  /** Only where the probe solves `(C + ridge I) x = q - kbar`: the `u` of `(C + ridge I) u = N`. */
  solveAdjoint?(weights: WeightBlock, N: Tensor3D): Tensor3D;
  /** `[heads, rows, 1]` or a number, where there is one. */
  ridge?(block: RowBlock): Tensor | number;
}

/** The masked softmax of one block of rows. */
export function weightBlock(problem: ComposedProblem, scale: number, start: number, rows: number): WeightBlock {
  const block = problem.block(start, rows);
  const query = problem.blockRows(block, problem.query);
  const key = problem.blockKeys(block, problem.key);
  const value = problem.blockKeys(block, problem.value);
  const weights = tidy(() => {
    let scores: Tensor = mul(matMul(query, key, false, true), scale);
    if (problem.bias) {
      const { heads, Tk } = problem.dims;
      const bias = problem.blockKeys(block, reshape(problem.bias, [heads, Tk, 1]));
      scores = add(scores, reshape(bias, [heads, 1, block.keys]));
    }
    // A finite low score, and a product with the mask behind the exponential: no arithmetic with infinities.
    const seen = mul(block.visible, fill(scores.shape, 1));
    const masked = where(cast(seen, 'bool'), scores, fill(scores.shape, -1e30));
    const unnormalized = mul(exp(sub(masked, max(masked, 2, true))), seen);
    return div<Tensor3D>(unnormalized, maximum(sum(unnormalized, 2, true), 1e-30));
  });
  return { block, query, key, value, weights, kbar: matMul(weights, key), variance: problem.variance };
}

/**
 * `y_j.x = k_j.x - kbar.x` for every row and key, `[heads, rows, keys]`.
 *
 * `kbar.x` is taken as the weighted mean of the products: a small ridge makes `x` large, and with products that were
 * summed in another order the difference would not even vanish for a row that sees a single key.
 */
export function centredProducts({ key, weights }: WeightBlock, x: Tensor3D): Tensor3D {
  return tidy(() => {
    const products: Tensor3D = matMul(x, key, false, true);
    return sub(products, rowDot(weights, products));
  });
}

/** Rows whose weights fill the budget: four tensors of `rows x Tk` are alive at a time. */
function floatsPerRow(problem: ComposedProblem): number {
  return problem.dims.heads * problem.dims.Tk;
}

/** `out [heads, Tq, Dv]` and, where there is a probe, `probe [heads, Tq, D]`. */
export function composedProbeAttention(
  problem: ComposedProblem,
  attrs: SoftmaxAttentionAttrs,
  probe?: ComposedProbe,
): { out: Tensor3D; probe?: Tensor3D } {
  const { heads, Dv, D } = problem.dims;
  const out = new RowResults();
  const probes = new RowResults();
  forRowBlocks(problem, floatsPerRow(problem), (start, rows) => {
    const block = problem.block(start, rows);
    if (block.keys === 0) {
      out.add(block, fill([heads, rows, Dv], 0));
      if (probe) probes.add(block, fill([heads, rows, D], 0));
      return;
    }
    const [blockOut, ...found] = tidy((): Tensor3D[] => {
      const weights = weightBlock(problem, attrs.scale, start, rows);
      if (!probe) return [matMul(weights.weights, weights.value)];
      const x = probe.find(weights);
      const effective = mul<Tensor3D>(weights.weights, add(centredProducts(weights, x), 1));
      return [matMul(effective, weights.value), x];
    });
    out.add(block, blockOut);
    for (const x of found) probes.add(block, x);
  });
  return { out: out.rows(), ...(probe && { probe: probes.rows() }) };
}

export interface ComposedGradients {
  query: Tensor3D;
  key: Tensor3D;
  value: Tensor3D;
  /** `[heads, Tk, 1]` */
  keyBias: Tensor3D;
  /** `[heads, Tq, D]`: gradient of a probe that was given. */
  probe?: Tensor3D;
  /** `[heads, Tq, 1]`: where the probe is a solution. */
  ridge?: Tensor3D;
}

/** Gradient of `composedProbeAttention` for the cotangent `dout [heads, Tq, Dv]`, whose bad rows are noted already. */
export function composedProbeAttentionGradient(
  problem: ComposedProblem,
  attrs: SoftmaxAttentionAttrs,
  dout: Tensor3D,
  probe?: ComposedProbe,
): ComposedGradients {
  const { heads, D, Dv } = problem.dims;
  const isSolution = probe?.solveAdjoint !== undefined;
  const dq = new RowResults();
  const dprobe = new RowResults();
  const dridge = new RowResults();
  const dk = new KeySum(problem, D);
  const dv = new KeySum(problem, Dv);
  const db = new KeySum(problem, 1);
  const bad = new KeySum(problem, 1);
  forRowBlocks(problem, floatsPerRow(problem), (start, rows) => {
    const block = problem.block(start, rows);
    if (block.keys === 0) {
      for (const [results, columns] of [
        [dq, D],
        [dprobe, D],
        [dridge, 1],
      ] as const) {
        results.add(block, fill([heads, rows, columns], 0));
      }
      return;
    }
    const part = tidy(() => {
      const weights = weightBlock(problem, attrs.scale, start, rows);
      return blockGradient(weights, problem.blockRows(block, dout), attrs.scale, probe);
    });
    dq.add(block, part.dq);
    dprobe.add(block, part.N);
    dridge.add(block, part.dridge);
    dk.add(block, part.dk);
    dv.add(block, part.dv);
    db.add(block, part.db);
    bad.add(block, seenByBad(block));
  });
  return {
    query: dq.rows(),
    key: dk.result(bad),
    value: dv.result(bad),
    keyBias: db.result(bad),
    ...(probe && !isSolution && { probe: dprobe.rows() }),
    ...(isSolution && { ridge: dridge.rows() }),
  };
}

/** One block of rows: its part of every gradient (operator.md, "exact gradient"). */
function blockGradient(
  weights: WeightBlock,
  g: Tensor3D,
  scale: number,
  probe: ComposedProbe | undefined,
): Record<'dq' | 'N' | 'dridge' | 'dk' | 'dv' | 'db', Tensor3D> {
  const { block, query, key, value, weights: p } = weights;
  const gamma = matMul(g, value, false, true);
  const centred = sub<Tensor3D>(gamma, rowDot(p, gamma));
  const pGamma = mul<Tensor3D>(p, centred);
  // Against y_j rather than k_j: the weighted centred Gamma sums to zero only up to rounding.
  const N = sub<Tensor3D>(matMul(pGamma, key), mul(sum(pGamma, 2, true), weights.kbar));
  const x = probe && mul<Tensor3D>(probe.find(weights), block.ordinary);
  const u = probe?.solveAdjoint?.(weights, N);

  const tau = x ? add<Tensor3D>(centredProducts(weights, x), 1) : undefined;
  const pTau = tau ? mul<Tensor3D>(p, tau) : p;
  const eta = u ? sub<Tensor3D>(centred, centredProducts(weights, u)) : centred;
  const pEta = mul<Tensor3D>(p, eta);
  const ux = u && x ? rowDot(u, x) : fill<Rank.R3>([g.shape[0], block.rows, 1], 0);
  let de: Tensor3D = tau ? mul(pEta, tau) : pEta;
  // The constant makes the gradient of the scores sum to zero.
  if (x) de = sub(de, mul(p, u ? mul(ux, probe.ridge?.(block) ?? 0) : rowDot(N, x)));
  const dq = mul<Tensor3D>(matMul(de, key), scale);
  let dk: Tensor3D = matMul(de, mul<Tensor3D>(query, scale), true, false);
  if (x) dk = add(dk, matMul(pEta, x, true, false));
  if (u) dk = sub(dk, matMul(pTau, u, true, false));
  return {
    dq: u ? add(dq, u) : dq,
    N,
    dridge: neg(ux),
    dk,
    dv: matMul(pTau, g, true, false),
    db: reshape(sum(de, 1), [g.shape[0], block.keys, 1]),
  };
}
