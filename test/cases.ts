import { allCombinations, coverPairs, type Factors } from './pairs.js';
import { Random } from './random.js';
import type { Call, Operator, PlainOptions, Tensors, Values } from './values.js';

/*
 * The one case table, for every backend, in Node and in browsers. Each operator has factors: sizes, masks, options, kinds
 * of data.
 */

/**
 * How much of the table to take: `'sample'` for a fifth of `'optionPairs'`, `'optionPairs'` for every pair of options and each size at least once, `'pairs'` for
 * every pair of any two factors' values, `'all'` for all combinations of the options besides.
 */
export type Extent = 'sample' | 'optionPairs' | 'pairs' | 'all';

export interface Case extends Call {
  readonly name: string;
}

export const operators: readonly Operator[] = [
  'localLinearAttention',
  'softmaxAttention',
  'linearAttention',
  'parallaxAttention',
  'mesaAttention',
];

interface Size {
  /** Leading dimensions. */
  readonly lead: readonly number[];
  readonly Tq: number;
  readonly Tk: number;
  readonly D: number;
  readonly Dv: number;
}

/** Sizes off every tile, short and long, with more queries than keys and fewer. */
const sizes: Readonly<Record<string, Size>> = {
  '1x1': { lead: [2], Tq: 1, Tk: 1, D: 1, Dv: 1 },
  '2x2': { lead: [1, 2], Tq: 2, Tk: 2, D: 3, Dv: 5 },
  '31x31': { lead: [2], Tq: 31, Tk: 31, D: 5, Dv: 3 },
  '33x33': { lead: [2, 2], Tq: 33, Tk: 33, D: 3, Dv: 4 },
  '63x63': { lead: [2], Tq: 63, Tk: 63, D: 60, Dv: 64 },
  '111x111': { lead: [1, 2], Tq: 111, Tk: 111, D: 64, Dv: 60 },
  '33x111': { lead: [2], Tq: 33, Tk: 111, D: 100, Dv: 5 },
  '63x31': { lead: [2, 2], Tq: 63, Tk: 31, D: 5, Dv: 100 },
  '1x111': { lead: [2, 1], Tq: 1, Tk: 111, D: 64, Dv: 64 },
  '111x2': { lead: [2], Tq: 111, Tk: 2, D: 1, Dv: 3 },
};

const shared = {
  size: Object.keys(sizes),
  mode: ['full', 'causal'],
  mask: ['none', 'partly', 'one batch hidden'],
};

const scored = {
  ...shared,
  bias: ['none', '[B,Tk]', '[...,Tk]', 'Gaussian'],
  data: ['normal', 'large scores', 'duplicate keys'],
};

const factors = {
  localLinearAttention: {
    ...scored,
    ridge: ['default', 'number', 'scalar', 'per row', 'per head', 'tiny'],
    solver: ['auto', 'conjugateGradient', 'direct'],
  },
  softmaxAttention: { ...scored, scale: ['default', '0.3'] },
  parallaxAttention: { ...scored, scale: ['default', '0.3'] },
  linearAttention: {
    ...shared,
    feature: ['default', 'elu+1', 'relu', 'relu bare', 'identity', 'identity bare'],
    scale: ['default', '0.3'],
  },
  mesaAttention: { ...shared, data: ['normal', 'duplicate keys'], ridge: ['default', 'number', 'scalar', 'full'] },
} satisfies Record<Operator, Record<string, string[]>>;

/** A combination of the factors, whichever the operator has. */
type Parts = Partial<Record<string, string>>;

function keyMaskOf(kind: string | undefined, B: number, Tk: number, random: Random): Values | undefined {
  if (kind === 'partly') return random.mask([B, Tk], 0.7);
  if (kind !== 'one batch hidden') return undefined;
  return { shape: [B, Tk], data: Array.from(random.mask([B, Tk], 0.8).data, (x, i) => (i < Tk ? 0 : x)) };
}

function keyBiasOf(kind: string | undefined, size: Size, key: Values, random: Random): Values | undefined {
  const { lead, Tk, D } = size;
  if (kind === '[B,Tk]') return random.normals([lead[0], Tk]);
  if (kind === '[...,Tk]') return random.normals([...lead, Tk]);
  if (kind !== 'Gaussian') return undefined;
  const squared = (j: number) => Array.from({ length: D }, (_, d) => key.data[j * D + d] ** 2).reduce((a, b) => a + b);
  const data = Float32Array.from({ length: key.data.length / D }, (_, j) => -squared(j) / (2 * Math.sqrt(D)));
  return { shape: [...lead, Tk], data };
}

/** A ridge of local linear attention as a tensor of one of the shapes that broadcast to `[..., Tq]`. */
function ridgeOf(kind: string | undefined, { lead, Tq }: Size, random: Random): Values | undefined {
  if (kind === 'scalar') return { shape: [], data: [0.5] };
  if (kind === 'per row') return random.logUniform([...lead, Tq], 0.05, 5);
  if (kind === 'per head') return random.logUniform([...lead, 1], 0.05, 5);
  return undefined;
}

/** A ridge of mesa attention as a tensor of one of the shapes that broadcast to `[H, D]` (rank 3: `[D]`). */
function mesaRidgeOf(kind: string | undefined, { lead, D }: Size, random: Random): Values | undefined {
  if (kind === 'scalar') return { shape: [1], data: [0.7] };
  if (kind === 'full') return random.logUniform([...lead.slice(1), D], 0.2, 5);
  return undefined;
}

/** Keys of which each occurs about four times, so that their covariance is singular. */
function duplicated({ shape, data }: Values): Values {
  const [Tk, D] = shape.slice(-2);
  const source = (i: number) => {
    const row = Math.floor(i / D);
    const head = Math.floor(row / Tk);
    return (head * Tk + ((row % Tk) % Math.ceil(Tk / 4))) * D + (i % D);
  };
  return { shape, data: Float32Array.from(data, (_, i) => data[source(i)]) };
}

function ridgeNumber(kind: string | undefined): PlainOptions {
  if (kind === 'number') return { ridge: 0.2 };
  return kind === 'tiny' ? { ridge: 1e-4 } : {};
}

function optionsOf(parts: Parts): PlainOptions {
  const [featureMap, bare] = (parts.feature ?? 'default').split(' ') as [string, string?];
  return {
    ...(parts.mode === 'causal' && { causal: true }),
    ...(parts.scale !== undefined && parts.scale !== 'default' && { scale: Number(parts.scale) }),
    ...(featureMap !== 'default' && { featureMap: featureMap as PlainOptions['featureMap'] }),
    ...(bare !== undefined && { normalize: false }),
    ...(parts.solver !== undefined && { solver: parts.solver as PlainOptions['solver'] }),
    ...ridgeNumber(parts.ridge),
  };
}

/** A seed from a text (FNV-1a). */
function seedOf(text: string): number {
  return new TextEncoder().encode(text).reduce((hash, byte) => Math.imul(hash ^ byte, 16777619), 2166136261 | 0);
}

/** The call that a combination describes; the same one in every run and for every solver. */
function build(operator: Operator, parts: Parts): Call {
  const size = sizes[parts.size ?? ''];
  const { lead, Tq, Tk, D, Dv } = size;
  const seed = seedOf(JSON.stringify({ operator, ...parts, solver: undefined }));
  const random = new Random(seed);
  const normal = random.normals([...lead, Tk, D]);
  const key = parts.data === 'duplicate keys' ? duplicated(normal) : normal;
  // Without a feature map a sum of weights of both signs may be close to zero: positive features keep it away.
  const positive = parts.feature === 'identity';
  const abs = (x: Values): Values => (positive ? { shape: x.shape, data: Array.from(x.data, Math.abs) } : x);
  const tensors: Tensors = {
    query: abs(random.normals([...lead, Tq, D], parts.data === 'large scores' ? 10 : 1)),
    key: abs(key),
    value: random.normals([...lead, Tk, Dv]),
  };
  const keyMask = keyMaskOf(parts.mask, lead[0], Tk, random);
  const keyBias = keyBiasOf(parts.bias, size, key, random);
  const ridge = (operator === 'mesaAttention' ? mesaRidgeOf : ridgeOf)(parts.ridge, size, random);
  return {
    operator,
    options: optionsOf(parts),
    tensors: {
      ...tensors,
      ...(operator === 'parallaxAttention' && { probe: random.normals([...lead, Tq, D]) }),
      ...(ridge && { ridge }),
      ...(keyBias && { keyBias }),
      ...(keyMask && { keyMask }),
    },
  };
}

/** Sizes whose float64 results take long. */
const largeSizes = Object.keys(sizes).filter((name) => sizes[name].D * sizes[name].Tk > 3000 || sizes[name].Dv >= 100);

/**
 * Local linear attention has so many combinations that all of them take over twenty minutes: every seventh is run. Seven
 * has no factor in common with the number of values of any option, so that each value meets each other.
 */
const EVERY: Partial<Record<Operator, number>> = { localLinearAttention: 7 };

const largeFirst = [...largeSizes, ...Object.keys(sizes).filter((name) => !largeSizes.includes(name))];

/** The factors of an operator that are options or data, not sizes. */
function optionsFactors(operator: Operator): Factors {
  return Object.fromEntries(Object.entries(factors[operator]).filter(([factor]) => factor !== 'size'));
}

/** Combinations in which every pair of options occurs, on each size in turn and then on the small ones. */
function optionPairs(operator: Operator): Parts[] {
  const small = largeFirst.slice(largeSizes.length);
  return coverPairs(optionsFactors(operator)).map((parts, i) => {
    const size = i < largeFirst.length ? largeFirst[i] : small[i % small.length];
    return { size, ...parts };
  });
}

/** Every combination of all options on every small size, and on one of the large ones in turn. */
function fullChoices(operator: Operator): Parts[] {
  const options = optionsFactors(operator);
  const small = Object.keys(sizes).filter((name) => !largeSizes.includes(name));
  const every = EVERY[operator] ?? 1;
  return allCombinations(options).flatMap((parts, i) =>
    i % every === 0 ? [...small, largeSizes[(i / every) % largeSizes.length]].map((size) => ({ size, ...parts })) : [],
  );
}

function choicesOf(operator: Operator, extent: Extent): Parts[] {
  if (extent === 'optionPairs') return optionPairs(operator);
  if (extent === 'sample') return optionPairs(operator).filter((_, i) => i % 5 === 0);
  const pairs: Parts[] = coverPairs(factors[operator]);
  return extent === 'all' ? [...pairs, ...fullChoices(operator)] : pairs;
}

/** The cases of one operator, as `[name, build]`: data are made only when a test runs. */
export function casesOf(operator: Operator, extent: Extent): (readonly [string, () => Case])[] {
  return choicesOf(operator, extent).map((parts) => {
    const name = Object.entries(parts)
      .map(([factor, value]) => `${factor} ${value ?? ''}`)
      .join(', ');
    return [name, () => ({ name, ...build(operator, parts) })];
  });
}
