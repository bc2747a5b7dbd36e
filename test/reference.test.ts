import { dot } from '../kernels/common/reference.js';
import * as float32Covariance from './float32_covariance.js';
import { loadFixtures } from './fixtures.js';
import {
  dimsOf,
  judgeForward,
  judgeGradient,
  judgeWeights,
  localLinearProblem,
  outShape,
  toInputShapes,
} from './judge.js';
import { Random } from './random.js';
import { relativeL2, relativeMax, sizeOf } from './values.js';
import type { Call, Operator, PlainOptions, TensorName, Tensors } from './values.js';

const differentiable: readonly TensorName[] = ['query', 'key', 'value', 'probe', 'ridge', 'keyBias'];

/** A call with every tensor the operator takes, masks and all. */
function randomCall(operator: Operator, Tq: number, Tk: number, options: PlainOptions, seed: number): Call {
  const random = new Random(seed);
  const tensors: Tensors = {
    query: random.normals([2, 2, Tq, 5]),
    key: random.normals([2, 2, Tk, 5]),
    value: random.normals([2, 2, Tk, 3]),
    keyMask: random.mask([2, Tk], 0.7),
    ...(operator === 'parallaxAttention' && { probe: random.normals([2, 2, Tq, 5]) }),
    ...(operator === 'localLinearAttention' && { ridge: random.logUniform([2, 1, Tq], 0.1, 3) }),
    ...(operator === 'mesaAttention' && { ridge: random.logUniform([2, 5], 0.3, 3) }),
    ...(['localLinearAttention', 'softmaxAttention', 'parallaxAttention'].includes(operator) && {
      keyBias: random.normals([2, 2, Tk]),
    }),
  };
  return { operator, tensors, options };
}

/** The derivative of `dout . out` by central differences of fourth order, in every element of one input. */
function finiteDifferences(call: Call, name: TensorName, dout: Float64Array): Float64Array {
  const values = call.tensors[name];
  if (!values) throw new Error(`no ${name}`);
  const at = (element: number, step: number) => {
    const data = Float64Array.from(values.data);
    data[element] += step;
    return dot(dout, judgeForward({ ...call, tensors: { ...call.tensors, [name]: { shape: values.shape, data } } }));
  };
  const h = 1e-3;
  return Float64Array.from(
    { length: values.data.length },
    (_, i) => (8 * (at(i, h) - at(i, -h)) - (at(i, 2 * h) - at(i, -2 * h))) / (12 * h),
  );
}

const variants: [Operator, PlainOptions][] = [
  ['localLinearAttention', {}],
  ['localLinearAttention', { scale: 0.2 }],
  ['softmaxAttention', {}],
  ['parallaxAttention', {}],
  ['mesaAttention', {}],
  ['linearAttention', {}],
  ['linearAttention', { featureMap: 'relu' }],
  ['linearAttention', { featureMap: 'relu', normalize: false, scale: 0.5 }],
  ['linearAttention', { featureMap: 'identity', normalize: false }],
];

const lengths = [
  { Tq: 6, Tk: 6 },
  { Tq: 1, Tk: 7 },
  { Tq: 3, Tk: 9 },
  { Tq: 9, Tk: 4 },
];

describe.each(variants)('%s %j, gradient against finite differences', (operator, options) => {
  const calls = lengths.flatMap(({ Tq, Tk }, i) =>
    [false, true].map((causal): [string, Call] => [
      `Tq ${String(Tq)}, Tk ${String(Tk)}, ${causal ? 'causal' : 'full'}`,
      randomCall(operator, Tq, Tk, { ...options, causal }, 17 * i + Tk),
    ]),
  );
  test.each(calls)('%s', (_, call) => {
    const dout = Float64Array.from(new Random(5).normals(outShape(call)).data);
    const gradients = judgeGradient(call, dout);
    for (const name of differentiable.filter((n) => call.tensors[n])) {
      const expected = finiteDifferences(call, name, dout);
      expect([name, relativeL2(gradients[name] ?? [], expected) < 1e-7]).toEqual([name, true]);
    }
  });

  test('weights x value is the output', () => {
    const call = randomCall(operator, 4, 6, { ...options, causal: true }, 3);
    const { heads, Tq, Tk, Dv } = dimsOf(call);
    const weights = judgeWeights(call);
    const out = new Float64Array(heads * Tq * Dv);
    for (let row = 0; row < heads * Tq; row++) {
      for (let j = 0; j < Tk; j++) {
        for (let c = 0; c < Dv; c++) {
          out[row * Dv + c] +=
            weights[row * Tk + j] * call.tensors.value.data[(Math.floor(row / Tq) * Tk + j) * Dv + c];
        }
      }
    }
    expect(relativeMax(out, judgeForward(call))).toBeLessThan(1e-14);
  });
});

describe('references against the fixtures', () => {
  const fixtures = loadFixtures().map((fixture) => [fixture.name, fixture] as const);

  test('every case of both files is there', () => {
    expect(fixtures).toHaveLength(25);
  });

  test.each(fixtures)('%s', (_, fixture) => {
    expect(relativeMax(judgeForward(fixture), fixture.out)).toBeLessThan(fixture.float32 ? 2e-6 : 1e-12);
    const gradients = fixture.dout ? judgeGradient(fixture, fixture.dout) : {};
    for (const name of Object.keys(fixture.gradients) as TensorName[]) {
      const error = relativeL2(gradients[name] ?? [], fixture.gradients[name] ?? []);
      expect([name, error < 1e-11, error]).toEqual([name, true, error]);
    }
  });
});

describe('edges of the references', () => {
  const operators: Operator[] = [
    'localLinearAttention',
    'softmaxAttention',
    'parallaxAttention',
    'mesaAttention',
    'linearAttention',
  ];

  /** A copy of a call with one number of one input replaced. */
  function spoiled(call: Call, name: TensorName, element: number, number: number): Call {
    const values = call.tensors[name];
    if (!values) throw new Error(`no ${name}`);
    const data = Float64Array.from(values.data);
    data[element] = number;
    return { ...call, tensors: { ...call.tensors, [name]: { shape: values.shape, data } } };
  }

  test.each(operators)('%s: hidden keys are never touched, a row without keys is zero', (operator) => {
    const call = randomCall(operator, 4, 6, {}, 8);
    const keyMask = { shape: [2, 6], data: [1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0] };
    const masked: Call = { ...call, tensors: { ...call.tensors, keyMask } };
    const dout = new Random(1).normals(outShape(call)).data;
    const dirty = spoiled(spoiled(masked, 'key', 1 * 5, NaN), 'value', 4 * 3, NaN);
    expect(judgeForward(dirty)).toEqual(judgeForward(masked));
    expect(judgeGradient(dirty, dout)).toEqual(judgeGradient(masked, dout));
    const half = sizeOf(outShape(call)) / 2;
    expect(judgeForward(dirty).slice(half)).toEqual(new Float64Array(half));
    expect(judgeGradient(masked, dout).query?.slice(2 * 4 * 5)).toEqual(new Float64Array(2 * 4 * 5));
  });

  test.each(operators)('%s: a NaN stays in the rows that see it', (operator) => {
    const call = randomCall(operator, 6, 6, { causal: true }, 9);
    const tensors: Tensors = { ...call.tensors, keyMask: { shape: [2, 6], data: new Array<number>(12).fill(1) } };
    const out = judgeForward(spoiled({ ...call, tensors }, 'key', 2 * 5, NaN));
    const bad = Array.from({ length: 24 }, (_, row) => out.slice(row * 3, row * 3 + 3).some(Number.isNaN));
    expect(bad).toEqual(Array.from({ length: 24 }, (_, row) => row >= 2 && row < 6));
  });

  test.each([0, -1, NaN, Infinity])('a ridge of %p gives NaN in its own row only', (ridge) => {
    const call = randomCall('localLinearAttention', 5, 5, { causal: true }, 10);
    const tensors: Tensors = {
      ...call.tensors,
      keyMask: { shape: [2, 5], data: new Array<number>(10).fill(1) },
      ridge: { shape: [5], data: [1, 1, ridge, 1, 1] },
    };
    const bad: Call = { ...call, tensors };
    const rows = Array.from(
      judgeForward(bad).filter((_, i) => i % 3 === 0),
      Number.isNaN,
    );
    expect(rows).toEqual(rows.map((_, i) => i % 5 === 2));
    const dvalue = judgeGradient(bad, new Random(1).normals(outShape(bad)).data).value ?? [];
    const keys = Array.from({ length: 20 }, (_, j) => Number.isNaN(dvalue[3 * j]));
    expect(keys).toEqual(keys.map((_, j) => j % 5 <= 2));
  });

  test('the float32 covariance form is the same operator', () => {
    const call = randomCall('localLinearAttention', 7, 12, { causal: true }, 11);
    const dout = Float64Array.from(new Random(1).normals(outShape(call)).data);
    const problem = localLinearProblem(call);
    expect(relativeL2(float32Covariance.forward(problem).out, judgeForward(call))).toBeLessThan(1e-6);
    const actual = toInputShapes(call, float32Covariance.gradient(problem, dout));
    const expected = judgeGradient(call, dout);
    for (const name of differentiable.filter((n) => call.tensors[n])) {
      expect(relativeL2(actual[name] ?? [], expected[name] ?? [])).toBeLessThan(5e-6);
    }
  });
});
