import type { BenchCase } from './cases.js';
import { operatorNames, type OperatorName } from './operators.js';

type Part = Partial<BenchCase>;

/** Square attention of `n` queries and keys. */
function square(operator: OperatorName, n: number, dim: number, part: Part): BenchCase {
  const sizes = { heads: 32, queries: n, keys: n, dim };
  return { operator, direction: 'forward', causal: true, limits: 'device', ...sizes, ...part };
}

const softmax = (n: number, dim: number, part: Part) => square('softmaxAttention', n, dim, part);
const localLinear = (n: number, dim: number, ridge: number, part: Part) =>
  square('localLinearAttention', n, dim, { ridge, tolerance: 1e-3, ...part });

const LENGTHS = [2048, 4096] as const;
const RIDGES = [10, 1, 0.1] as const;

/** Error that forward and gradient of local linear attention may have at tolerance 1e-3. */
const FORWARD_ERROR = 6e-4;
const GRADIENT_ERROR = 1e-3;
/** What WebGPU's default limits may cost. */
const LIMITS_FACTOR = 1.3;
/** Rate that any row must have, of that of softmax attention of its size. */
const LEAST_RATE = 1 / 3;

/** Milliseconds that softmax attention may take on an H100 or H200, `[full, causal]`. */
const SOFTMAX_BARS = { 2048: [1.5, 0.78], 4096: [5.9, 2.9] } as const;
/** Those of local linear attention, by ridge in the order of `RIDGES`. */
const LOCAL_LINEAR_BARS = { 2048: [4, 6, 8.2], 4096: [14.5, 20, 26] } as const;
/** What the gradient may take in forward passes at tolerance 1e-3, by ridge in the order of `RIDGES`. */
const GRADIENT_BARS = [2.7, 2.2, 2.5] as const;

const gradientTolerance = (ridge: number): number => (ridge === 0.1 ? 5e-4 : 1e-3);

/** Softmax attention and local linear attention of one head dimension, with the bars of dimension 64. */
function mainRows(n: (typeof LENGTHS)[number], dim: number, limits: BenchCase['limits'], part: Part = {}): BenchCase[] {
  const factor = limits === 'default' ? LIMITS_FACTOR : 1;
  const isMain = dim === 64;
  const bars = (milliseconds: number) => (isMain ? { kernelMilliseconds: factor * milliseconds } : {});
  const rate = { ...(isMain ? {} : { timesSoftmax: LEAST_RATE }) };
  const ofSoftmax = [false, true].map((causal, i) =>
    softmax(n, dim, {
      causal,
      limits,
      bar: { ...bars(SOFTMAX_BARS[n][i]), ...(limits === 'device' && isMain && { timesMatMul: 1.25 }) },
      ...part,
    }),
  );
  const ofLocalLinear = RIDGES.map((ridge, i) =>
    localLinear(n, dim, ridge, {
      limits,
      bar: { ...bars(LOCAL_LINEAR_BARS[n][i]), ...rate, error: FORWARD_ERROR },
      ...part,
    }),
  );
  return [...ofSoftmax, ...ofLocalLinear];
}

/** Gradients of local linear attention. */
const gradientRows = (n: number, dim: number): BenchCase[] =>
  RIDGES.map((ridge, i) =>
    localLinear(n, dim, ridge, {
      direction: 'gradient',
      tolerance: gradientTolerance(ridge),
      bar: { error: GRADIENT_ERROR, timesForward: GRADIENT_BARS[i] },
    }),
  );

const ridgeOf = (operator: OperatorName): Part =>
  operator === 'mesaAttention' || operator === 'localLinearAttention' ? { ridge: 1 } : {};

/** The operators beside local linear attention; a gradient with its forward. */
function siblingRows(n: number, part: Part = {}): BenchCase[] {
  const siblings = operatorNames.filter((operator) => operator !== 'localLinearAttention');
  const rows = siblings.flatMap((operator) =>
    (['forward', 'gradient'] as const).map((direction) =>
      square(operator, n, 64, { direction, ...ridgeOf(operator), bar: { timesSoftmax: LEAST_RATE }, ...part }),
    ),
  );
  // The main rows have this one.
  return rows.filter(({ operator, direction }) => operator !== 'softmaxAttention' || direction !== 'forward');
}

/** Everything that the kernels are held to, the most important first. */
function issue(): BenchCase[] {
  const linearGrowth = [16384, 65536].map((n) =>
    square('linearAttention', n, 64, { heads: 8, ...(n === 65536 && { bar: { growth: 4.4 } }) }),
  );
  const memory = [4096, 65536].map((n) =>
    localLinear(n, 64, 1, { heads: 1, isFresh: true, bar: { error: FORWARD_ERROR, extraMebibytes: 256 } }),
  );
  return [
    ...mainRows(2048, 64, 'device'),
    ...gradientRows(2048, 64),
    ...mainRows(4096, 64, 'device'),
    ...gradientRows(4096, 64),
    // The comparison: the composed ones at their best, at this length.
    ...[false, true].map((causal) => softmax(2048, 64, { causal, isCompared: true, isFresh: true })),
    localLinear(2048, 64, 1, { isCompared: true, isFresh: true }),
    ...siblingRows(2048, { isFresh: true }),
    ...(['forward', 'gradient'] as const).map((direction) =>
      localLinear(2048, 64, 1, { direction, tolerance: undefined, isFresh: true }),
    ),
    localLinear(4096, 64, 1, { tolerance: undefined }),
    ...LENGTHS.flatMap((n) => mainRows(n, 64, 'default')),
    ...siblingRows(4096),
    localLinear(2048, 64, 1, { direction: 'gradient', hasRidgeTensor: true, bar: { error: GRADIENT_ERROR } }),
    ...linearGrowth,
    ...memory,
    ...[128, 32].flatMap((dim) => LENGTHS.flatMap((n) => [...mainRows(n, dim, 'device'), ...gradientRows(n, dim)])),
  ];
}

/** Milliseconds by half precision with float32 sums, in the order of `SOFTMAX_BARS` and, for two ridges, `LOCAL_LINEAR_BARS`. */
const FAST_SOFTMAX_BARS = { 2048: [0.5, 0.3], 4096: [2, 1.05] } as const;
const FAST_LOCAL_LINEAR_BARS = { 2048: [1.45, 2.1], 4096: [5.6, 7.8] } as const;
const FAST_ERRORS = [6e-4, 8e-4, 1e-3] as const;

/** `precision: 'fast'`, each case beside the same in float32. */
function fast(): BenchCase[] {
  const both = (one: BenchCase): BenchCase[] => [
    { ...one, bar: {} },
    { ...one, precision: 'fast' },
  ];
  return LENGTHS.flatMap((n) => [
    ...[false, true].flatMap((causal, i) =>
      both(softmax(n, 64, { causal, bar: { kernelMilliseconds: FAST_SOFTMAX_BARS[n][i], error: 6e-4 } })),
    ),
    ...RIDGES.flatMap((ridge, i) => {
      const time = i < 2 ? { kernelMilliseconds: FAST_LOCAL_LINEAR_BARS[n][i] } : { timesHigh: 1 };
      return both(localLinear(n, 64, ridge, { bar: { ...time, error: FAST_ERRORS[i] } }));
    }),
    ...RIDGES.flatMap((ridge) =>
      both(
        localLinear(n, 64, ridge, {
          direction: 'gradient',
          tolerance: gradientTolerance(ridge),
          bar: { timesForward: 2.5, error: GRADIENT_ERROR },
        }),
      ),
    ),
    ...(['softmaxAttention', 'parallaxAttention'] as const).flatMap((operator) =>
      (['forward', 'gradient'] as const)
        .filter((direction) => operator !== 'softmaxAttention' || direction !== 'forward')
        .flatMap((direction) => both(square(operator, n, 64, { direction, bar: { error: GRADIENT_ERROR } }))),
    ),
  ]);
}

/** What keys of trained models are like: channels of unlike size, and a mean. */
const CORRELATIONS = [
  { spectrum: 0.5, mean: 2 },
  { spectrum: 1, mean: 1 },
] as const;

/** Local linear attention on correlated keys, in both precisions. */
const correlated = (): BenchCase[] =>
  CORRELATIONS.flatMap((correlation) =>
    (['forward', 'gradient'] as const).flatMap((direction) =>
      (['high', 'fast'] as const).map((precision) =>
        localLinear(4096, 64, 1, {
          heads: 8,
          direction,
          correlation,
          tolerance: 1e-4,
          bar: { error: GRADIENT_ERROR },
          ...(precision === 'fast' && { precision }),
        }),
      ),
    ),
  );

/** A little of everything, at a size that a GPU simulated in software can bear. */
function quick(): BenchCase[] {
  const small = { heads: 2 };
  const n = 128;
  return [
    softmax(n, 64, { ...small, causal: false, isCompared: true }),
    softmax(n, 64, { ...small, limits: 'default' }),
    localLinear(n, 64, 1, { ...small, isCompared: true }),
    localLinear(n, 64, 0.1, { ...small, limits: 'default' }),
    localLinear(n, 64, 1, { ...small, direction: 'gradient', hasRidgeTensor: true, isFresh: true }),
    ...siblingRows(n, small),
    softmax(n, 64, { ...small, queries: 1 }),
  ];
}

/** What the kernels of `webgl` are held to, at sizes that a GPU simulated in software can bear. */
function webgl(): BenchCase[] {
  const four = { heads: 4, isFresh: true };
  const one = { heads: 1, isFresh: true, bar: { extraMebibytes: 8 } };
  return [
    softmax(1024, 64, { ...four, isCompared: true }),
    localLinear(1024, 64, 1, { ...four, isCompared: true }),
    softmax(4096, 64, one),
    localLinear(4096, 64, 1, one),
    softmax(1024, 64, { ...four, direction: 'gradient' }),
    localLinear(1024, 64, 1, { ...four, tolerance: undefined }),
    localLinear(1024, 64, 1, { ...four, direction: 'gradient' }),
  ];
}

/** One new token against its context: what a step of decoding without a cache costs. */
const decode = (): BenchCase[] =>
  [1024, 4096, 16384].flatMap((keys) =>
    operatorNames.map((operator) =>
      square(operator, keys, 64, {
        queries: 1,
        ...ridgeOf(operator),
        ...(operator === 'localLinearAttention' && { tolerance: 1e-3 }),
      }),
    ),
  );

/** Sizes and settings that the command line gives to the suites `compare` and `growth`. */
export interface SuiteSettings {
  readonly backend: string;
  readonly heads: number;
  readonly length: number;
  readonly dim: number;
  readonly ridge: number;
  readonly tolerance: number;
  /** Largest length of `growth`. */
  readonly growth: number;
}

const settingsOf = (operator: OperatorName, { ridge, tolerance }: SuiteSettings): Part => ({
  ...(ridgeOf(operator).ridge !== undefined && { ridge }),
  ...(operator === 'localLinearAttention' && { tolerance }),
});

/** Every operator against the same made of tfjs operators; composed mesa attention takes minutes for it on `cpu`. */
const compare = (settings: SuiteSettings): BenchCase[] =>
  operatorNames.map((operator) =>
    square(operator, settings.length, settings.dim, {
      heads: settings.heads,
      isCompared: operator !== 'mesaAttention' || settings.backend === 'tensorflow',
      ...settingsOf(operator, settings),
    }),
  );

/** Every operator at doubling lengths of one head, with its memory. */
function growth(settings: SuiteSettings): BenchCase[] {
  const lengths: number[] = [];
  for (let n = 1024; n <= settings.growth; n *= 2) lengths.push(n);
  return operatorNames.flatMap((operator) =>
    lengths.map((n) =>
      square(operator, n, settings.dim, { heads: 1, isFresh: true, ...settingsOf(operator, settings) }),
    ),
  );
}

/** What a call costs beside its kernels, the shortest calls first; for TensorFlow on a GPU. */
function calls(): BenchCase[] {
  const bar = { overheadMilliseconds: 0.1 };
  const directions = ['forward', 'gradient'] as const;
  const localRows = (n: number, part: Part) =>
    directions.map((direction) =>
      localLinear(n, 64, 10, { direction, bar: { ...bar, error: GRADIENT_ERROR }, ...part }),
    );
  return [
    ...[512, 1024, 2048, 4096].flatMap((n) => localRows(n, {})),
    ...localRows(4096, { precision: 'fast' }),
    ...siblingRows(2048, { bar }),
  ];
}

export const suites: Readonly<Record<string, (settings: SuiteSettings) => BenchCase[]>> = {
  compare,
  growth,
  calls,
  issue,
  webgl,
  quick,
  decode,
  fast,
  correlated,
  gradients: () => [64, 128, 32].flatMap((dim) => LENGTHS.flatMap((n) => gradientRows(n, dim))),
};
