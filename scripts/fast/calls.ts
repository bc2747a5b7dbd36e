import { judgeForward, judgeGradient, outShape } from '../../test/judge.js';
import { apply, runCall, tensorsOf } from '../../test/run_call.js';
import { Random } from '../../test/random.js';
import type { Call, Operator, PlainOptions, TensorName, Values } from '../../test/values.js';

/** A call and its error against float64. */
export interface Checked {
  readonly name: string;
  readonly isGood: boolean;
  readonly text: string;
  readonly error: number;
  readonly milliseconds: number;
}

interface Sizes {
  readonly heads: number;
  readonly Tq: number;
  readonly Tk: number;
  readonly D: number;
  readonly Dv: number;
}

/** What makes a call hard for half precision. */
type Data =
  | 'normal'
  | 'large keys'
  | 'tiny keys'
  | 'large scores'
  | 'power law'
  | 'large values'
  | 'values with a mean'
  | 'masked';

const DATA: readonly Data[] = [
  'large keys',
  'tiny keys',
  'large scores',
  'power law',
  'large values',
  'values with a mean',
  'masked',
];

/** Relative error, in L2, that the fast kernels promise of an output. */
const BAR = 1e-3;

const scaled = ({ shape, data }: Values, factor: number): Values => ({
  shape,
  data: Array.from(data, (x) => factor * x),
});

/** Channels whose variance falls off like a power of their number, and a mean: what keys of trained models look like. */
function powerLaw({ shape, data }: Values): Values {
  const D = shape[shape.length - 1];
  return { shape, data: Array.from(data, (x, i) => (4 * x) / Math.sqrt(1 + (i % D)) + 0.5) };
}

function callOf(operator: Operator, options: PlainOptions, sizes: Sizes, data: Data = 'normal'): Call {
  const { heads, Tq, Tk, D, Dv } = sizes;
  const normals = (seed: number, rows: number, width: number): Values =>
    new Random(seed).normals([1, heads, rows, width]);
  const [query, key, value] = [normals(1, Tq, D), normals(2, Tk, D), normals(3, Tk, Dv)];
  const keys: Partial<Record<Data, Values>> = {
    'large keys': scaled(key, 1e6),
    'tiny keys': scaled(key, 1e-6),
    'power law': powerLaw(key),
  };
  const queries: Partial<Record<Data, Values>> = {
    // Local linear attention takes differences of queries and keys: both are of one size.
    'large keys': scaled(query, 1e6),
    'tiny keys': scaled(query, 1e-6),
    'large scores': scaled(query, 12),
  };
  const values: Partial<Record<Data, Values>> = {
    'large values': scaled(value, 1e7),
    'values with a mean': { ...value, data: Array.from(value.data, (x) => x + 30) },
  };
  const mask = Array.from({ length: Tk }, (_, j) => (j % 7 === 3 || j > Tk - 5 ? 0 : 1));
  return {
    operator,
    options,
    tensors: {
      query: queries[data] ?? query,
      key: keys[data] ?? key,
      value: values[data] ?? value,
      ...(operator === 'parallaxAttention' && { probe: normals(4, Tq, D) }),
      ...(data === 'masked' && {
        keyMask: { shape: [1, Tk], data: mask },
        keyBias: new Random(5).normals([1, heads, Tk]),
      }),
    },
  };
}

const SIZES: readonly Sizes[] = [
  { heads: 1, Tq: 400, Tk: 400, D: 64, Dv: 64 },
  { heads: 3, Tq: 77, Tk: 700, D: 40, Dv: 24 },
  { heads: 1, Tq: 300, Tk: 260, D: 100, Dv: 128 },
];

function* calls(): Generator<[string, Call]> {
  const ridges: PlainOptions[] = [
    { ridge: 10 },
    { ridge: 1 },
    { ridge: 0.1 },
    { ridge: 1, tolerance: 1e-6 },
    { ridge: 0.01 },
  ];
  const operators: [Operator, PlainOptions[]][] = [
    ['softmaxAttention', [{}]],
    ['parallaxAttention', [{}]],
    ['localLinearAttention', ridges.map((options) => ({ tolerance: 1e-3, ...options }))],
  ];
  for (const [operator, all] of operators) {
    for (const options of all) {
      for (const sizes of SIZES) {
        for (const causal of [true, false]) {
          const { heads, Tq, Tk, D, Dv } = sizes;
          const size = `${heads}x${Tq}x${Tk} ${D} ${Dv}`;
          yield [
            `${operator} ${size} ${JSON.stringify({ causal, ...options })}`,
            callOf(operator, { causal, ...options }, sizes),
          ];
        }
      }
    }
    for (const data of DATA) {
      const isSolving = operator === 'localLinearAttention';
      // Scores and the solve as for keys of size 1.
      const square = { 'large keys': 1e12, 'tiny keys': 1e-12 }[data as string] ?? 1;
      const options = {
        causal: true,
        scale: 1 / (Math.sqrt(SIZES[0].D) * square),
        // The error is larger than the residual where few keys have weight.
        ...(isSolving && { ridge: square, tolerance: data === 'large scores' ? 1e-6 : 1e-4 }),
      };
      yield [`${operator} ${data}`, callOf(operator, options, SIZES[0], data)];
    }
  }
}

/** All of them, or those of a name, as `precision: 'fast'` makes them. */
export function* fastCalls(only?: RegExp): Generator<[string, Call]> {
  for (const [name, call] of calls()) {
    if (only?.test(name) ?? true) yield [name, { ...call, options: { ...call.options, precision: 'fast' } }];
  }
}

function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let squares = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    squares += (actual[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(squares / norm);
}

/** Relative errors of all gradients of a call, by the name of the input. */
export async function gradientErrors(call: Call): Promise<Record<string, number>> {
  const dout = new Random(6).normals(outShape(call)).data;
  const { gradients } = await runCall(call, dout);
  const errors = Object.entries(judgeGradient(call, dout)).map(([input, expected]) => {
    const actual = gradients[input as TensorName];
    return [input, actual ? relativeError(actual, expected) : NaN] as const;
  });
  return Object.fromEntries(errors);
}

/** An error, and what to print of it. */
type Measured = Pick<Checked, 'error' | 'text'>;

/** Measures calls of all kinds, one after the other, until the clock says `end`; a call that fails has no error, but a text. */
async function checkAll(
  measure: (call: Call) => Promise<Measured>,
  prefix: string,
  end: number,
  report: (one: Checked) => void,
  only?: RegExp,
): Promise<void> {
  for (const [name, call] of fastCalls(only)) {
    if (Date.now() > end) return;
    const start = Date.now();
    const measured = await measure(call).catch((problem: unknown) => ({
      error: NaN,
      text: String(problem).slice(0, 400),
    }));
    // Written so that NaN is wrong.
    const isGood = measured.error <= BAR;
    report({ name: `${prefix}${name}`, isGood, ...measured, milliseconds: Date.now() - start });
  }
}

async function forwardError(call: Call): Promise<Measured> {
  const tensors = tensorsOf(call);
  const out = apply(call, tensors);
  try {
    const error = relativeError(await out.data(), judgeForward(call));
    return { error, text: error.toExponential(2) };
  } finally {
    for (const tensor of [out, ...Object.values(tensors)]) tensor.dispose();
  }
}

async function gradientError(call: Call): Promise<Measured> {
  const errors = Object.entries(await gradientErrors(call));
  return {
    // NaN if one is.
    error: Math.max(...errors.map(([, one]) => one)),
    text: errors.map(([input, one]) => `d${input} ${one.toExponential(1)}`).join(', '),
  };
}

/** Runs calls of all kinds in `precision: 'fast'` and compares them with float64, until the clock says `end`. */
export const checkCalls = (end: number, report: (one: Checked) => void, only?: RegExp): Promise<void> =>
  checkAll(forwardError, '', end, report, only);

/** The same for their gradients: the largest error of those of a call, and all by name. */
export const checkGradients = (end: number, report: (one: Checked) => void, only?: RegExp): Promise<void> =>
  checkAll(gradientError, 'gradient of ', end, report, only);
