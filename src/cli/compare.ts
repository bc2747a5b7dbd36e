import { grads, type Tensor, tensor3d } from '@tensorflow/tfjs-core';
import { linearAttention, localLinearAttention, mesaAttention, parallaxAttention, softmaxAttention } from '../index.js';
import { type BackendName, initBackend } from '../node.js';
import { numbers, relativeError } from './numbers.js';

/** How an operator on some backend differs from the same on `cpu`, which computes in float64. */
export interface Comparison {
  readonly operator: string;
  /** Largest relative L2 error among the output and the gradients, over causal and full calls. */
  readonly error: number;
  readonly agrees: boolean;
}

/** As for a single call: float32 stays two orders of magnitude below. */
const LARGEST_ERROR = 5e-4;

/** More queries and keys than a tile has, and dimensions that fill none. */
const [HEADS, TOKENS, D, DV] = [2, 150, 40, 24];

type Attention = (query: Tensor, key: Tensor, value: Tensor, probe: Tensor) => Tensor;

const operators: Readonly<Record<string, (causal: boolean) => Attention>> = {
  localLinearAttention: (causal) => (query, key, value) => localLinearAttention(query, key, value, { causal }),
  softmaxAttention: (causal) => (query, key, value) => softmaxAttention(query, key, value, { causal }),
  parallaxAttention: (causal) => (query, key, value, probe) => parallaxAttention(query, key, value, probe, { causal }),
  linearAttention: (causal) => (query, key, value) => linearAttention(query, key, value, { causal }),
  mesaAttention: (causal) => (query, key, value) => mesaAttention(query, key, value, { causal }),
};

/** Runs every operator and its gradients on a backend and on `cpu`; the backend is the current one afterwards. */
export async function compareWithCpu(backend: BackendName): Promise<Comparison[]> {
  await initBackend('cpu');
  const expected = await computeAll();
  await initBackend(backend);
  const computed = await computeAll();
  return Object.entries(computed).map(([operator, results]) => {
    const error = Math.max(...results.map((values, i) => relativeError(values, expected[operator][i])));
    return { operator, error, agrees: error <= LARGEST_ERROR };
  });
}

async function computeAll(): Promise<Record<string, ArrayLike<number>[]>> {
  const results: Record<string, ArrayLike<number>[]> = {};
  for (const [operator, attentionOf] of Object.entries(operators)) {
    results[operator] = [...(await compute(attentionOf(true))), ...(await compute(attentionOf(false)))];
  }
  return results;
}

/** The output and the gradients of query, key and value. */
async function compute(attention: Attention): Promise<ArrayLike<number>[]> {
  const make = (dim: number, seed: number) => tensor3d(numbers(HEADS * TOKENS * dim, seed), [HEADS, TOKENS, dim]);
  const probe = make(D, 5);
  const inputs = [make(D, 1), make(D, 2), make(DV, 3)];
  const dout = make(DV, 4);
  const call = (query: Tensor, key: Tensor, value: Tensor) => attention(query, key, value, probe);
  const [query, key, value] = inputs;
  const results = [call(query, key, value), ...grads(call)(inputs, dout)];
  const values = await Promise.all(results.map((result) => result.data()));
  for (const tensor of [...inputs, probe, dout, ...results]) tensor.dispose();
  return values;
}
