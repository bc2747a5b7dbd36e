import { chunkRows } from '../../kernels/common/webgpu/chunk_states.js';
import type { Precision } from '../../kernels/common/spec.js';
import type { Correlation, Sizes } from './data.js';
import type { OperatorName } from './operators.js';

/** What a case has to reach; a row says whether it did. */
export interface Bar {
  readonly kernelMilliseconds?: number;
  /** Most relative error, in L2, of the output or of any gradient. */
  readonly error?: number;
  /** A gradient's kernels over those of its forward, tolerance 1e-3. */
  readonly timesForward?: number;
  /** Rate over that of `matMul`. */
  readonly timesMatMul?: number;
  /** Rate over that of softmax attention of the same shape. */
  readonly timesSoftmax?: number;
  /** Kernel time over that of the same case in float32. */
  readonly timesHigh?: number;
  /** Kernel time over that of the same case at a quarter of the length. */
  readonly growth?: number;
  readonly extraMebibytes?: number;
  /** Milliseconds that a call through tfjs may take beyond its kernels, if 15 % of those are less; 0.2 where it is not given. */
  readonly overheadMilliseconds?: number;
}

/** One line of the table. */
export interface BenchCase extends Sizes {
  readonly operator: OperatorName;
  readonly direction: 'forward' | 'gradient';
  readonly causal: boolean;
  /** Of local linear and mesa attention. */
  readonly ridge?: number;
  /** Whether the ridge is a tensor, and so differentiated. */
  readonly hasRidgeTensor?: boolean;
  /** Of local linear attention; without one, the operator's default. */
  readonly tolerance?: number;
  readonly precision?: Precision;
  /** `'default'`: a device that was asked for nothing beyond what every WebGPU device has. */
  readonly limits: 'device' | 'default';
  /** Measures memory and the first call, shader compilation included, on a device of its own. */
  readonly isFresh?: boolean;
  /** Times the same made of tfjs operators beside it. */
  readonly isCompared?: boolean;
  readonly bar?: Bar;
}

/** What a case's name says of keys that are correlated. */
export const correlationName = (correlation: Correlation | undefined): string[] =>
  correlation === undefined ? [] : [`keys i^-${correlation.spectrum} mean ${correlation.mean}`];

/** The case in words: what `--only` looks for. */
export function caseName(one: BenchCase): string {
  const { operator, direction, causal, heads, queries, keys, dim, ridge, tolerance } = one;
  const length = queries === keys ? String(keys) : `${queries}:${keys}`;
  return [
    operator,
    direction,
    causal ? 'causal' : 'full',
    `${heads}x${length}x${dim}`,
    ...(ridge === undefined ? [] : [`ridge ${ridge}${one.hasRidgeTensor ? ' (tensor)' : ''}`]),
    ...(operator !== 'localLinearAttention' ? [] : [`tolerance ${tolerance ?? 'default'}`]),
    ...correlationName(one.correlation),
    ...(one.precision === 'fast' ? ['fast'] : []),
    ...(one.limits === 'default' ? ['default limits'] : []),
    ...(one.isFresh ? ['new device'] : []),
  ].join(' ');
}

/** Products of `queries x keys x dim` that attention of quadratic cost needs, for `iterations` a tile. */
const quadraticProducts = {
  softmaxAttention: { forward: () => 2, gradient: () => 8 },
  parallaxAttention: { forward: () => 4, gradient: () => 14 },
  localLinearAttention: { forward: (T: number) => 4 + 2 * T, gradient: (T: number) => 16 + 2 * T },
} as const;

/**
 * Multiply-adds a row of attention of linear cost: in `dim * dim`, of summing keys up and reading the sums, whatever the
 * chunks; and with a causal bound also in `dim`, of each pair that is visible within a chunk.
 */
const linearProducts = {
  linearAttention: { forward: [2, 2], gradient: [8, 8] },
  mesaAttention: { forward: [2, 2], gradient: [10, 8] },
} as const;

/**
 * Those of mesa attention's solve in its causal form: a system a row, made from an inverse for 32 rows, and two solves, the
 * second for the first one's residual (`kernels/mesa_attention/README.md`, Cost). Without a causal bound there is one
 * system a head, and a row's solves remain.
 */
const mesaSolve = (dim: number, causal: boolean): number => (causal ? dim / 32 + 6.5 + 256 / dim : 5);

/**
 * Floating point operations that a case needs, whatever its kernels do beside them: a multiplication and an addition
 * are two. Causal attention needs half of the products. Without the count of iterations that local linear attention
 * made it is unknown.
 */
export function usefulOperations(one: BenchCase, tileIterations: number | null): number | null {
  const { operator, direction, causal, heads, queries, keys, dim } = one;
  if (operator === 'linearAttention' || operator === 'mesaAttention') {
    const solve = operator === 'mesaAttention' ? mesaSolve(dim, causal) : 0;
    const [sums, pairs] = linearProducts[operator][direction];
    const inChunk = causal ? (pairs * chunkRows(dim, dim, causal)) / 2 : 0;
    return 2 * ((sums + solve) * dim + inChunk) * heads * keys * dim;
  }
  if (operator === 'localLinearAttention' && tileIterations === null) return null;
  const products = quadraticProducts[operator][direction](tileIterations ?? 0);
  const hidden = causal ? Math.min(queries, keys) / 2 : 0;
  return 2 * products * heads * queries * (keys - hidden) * dim;
}
