import * as tf from '@tensorflow/tfjs-core';
import {
  attentionWeights,
  linearAttention,
  localLinearAttention,
  mesaAttention,
  parallaxAttention,
  softmaxAttention,
} from '../src/index.js';
import { useBackend } from './backends.js';
import { operators } from './cases.js';
import { Random } from './random.js';
import { apply, shortName, toTensor } from './run_call.js';
import type { NamedTensors } from './run_call.js';
import type { Operator } from './values.js';

// Only arguments that the types refuse go through here, as a caller without types would pass them.
type Untyped = (...args: unknown[]) => tf.Tensor;

const untyped: Record<Operator, Untyped> = {
  localLinearAttention: localLinearAttention as Untyped,
  softmaxAttention: softmaxAttention as Untyped,
  linearAttention: linearAttention as Untyped,
  parallaxAttention: parallaxAttention as Untyped,
  mesaAttention: mesaAttention as Untyped,
};

const scored: readonly Operator[] = ['localLinearAttention', 'softmaxAttention', 'parallaxAttention'];

function normals(...shape: number[]): tf.Tensor {
  return toTensor(new Random(1).normals(shape));
}

/** Runs an operator with one argument replaced. */
function call(operator: Operator, replaced: Record<string, unknown> = {}, options: unknown = {}): tf.Tensor {
  const given: Record<string, unknown> = {
    query: normals(2, 3, 4),
    key: normals(2, 5, 4),
    value: normals(2, 5, 6),
    probe: normals(2, 3, 4),
    ...replaced,
  };
  const probe = operator === 'parallaxAttention' ? [given.probe] : [];
  return untyped[operator](given.query, given.key, given.value, ...probe, options);
}

/** Expects an error that names the operator and the argument and prints what was given, before any kernel ran. */
function expectError(operator: string, argument: string, given: readonly string[], run: () => unknown): void {
  let message: string | undefined;
  tf.tidy(() => {
    try {
      run();
    } catch (error) {
      expect(error).toBeInstanceOf(Error);
      message = (error as Error).message;
    }
  });
  expect(message).toBeDefined();
  expect(message).toContain(operator);
  expect(message).toMatch(new RegExp(`\\b${argument}\\b`));
  for (const text of given) expect(message).toContain(text);
}

beforeAll(() => useBackend('cpu'));

describe.each(operators)('%s refuses', (operator) => {
  const refuses = (argument: string, given: string[], replaced: () => Record<string, unknown>) =>
    expectError(operator, argument, given, () => call(operator, replaced()));
  const refusesOption = (option: string, value: unknown, ...given: string[]) =>
    expectError(operator, option, given, () => call(operator, {}, { [option]: value }));

  test('nothing, where all is well', () => {
    tf.tidy(() => expect(call(operator).shape).toEqual([2, 3, 6]));
    tf.tidy(() => expect(call(operator, {}, undefined).shape).toEqual([2, 3, 6]));
  });

  test('unequal dimensions', () => {
    refuses('key', ['2, 5, 3', '4'], () => ({ key: normals(2, 5, 3) }));
    refuses('key', ['3, 5, 4', '2'], () => ({ key: normals(3, 5, 4), value: normals(3, 5, 6) }));
    refuses('value', ['2, 7, 6', '5'], () => ({ value: normals(2, 7, 6) }));
    refuses('value', ['1, 5, 6', '2'], () => ({ value: normals(1, 5, 6) }));
    refuses('key', ['1, 2, 5, 4'], () => ({ key: normals(1, 2, 5, 4) }));
    if (operator === 'parallaxAttention') {
      refuses('probe', ['2, 5, 4', '2, 3, 4'], () => ({ probe: normals(2, 5, 4) }));
      refuses('probe', ['2, 3, 2', '2, 3, 4'], () => ({ probe: normals(2, 3, 2) }));
    }
  });

  test('leading dimensions that differ in a rank-4 call', () => {
    const query = () => normals(2, 3, 4, 5);
    refuses('key', ['2, 1, 4, 5'], () => ({
      query: query(),
      probe: query(),
      key: normals(2, 1, 4, 5),
      value: query(),
    }));
  });

  test('a wrong rank', () => {
    refuses('query', ['3, 4'], () => ({ query: normals(3, 4) }));
    refuses('query', ['1, 1, 2, 3, 4'], () => ({ query: normals(1, 1, 2, 3, 4) }));
    refuses('query', [], () => ({ query: 3 }));
    refuses('value', ['5'], () => ({ value: normals(5) }));
  });

  test('a wrong dtype', () => {
    refuses('query', ['string'], () => ({ query: tf.fill([2, 3, 4], 'a', 'string') }));
    refuses('key', ['complex64'], () => ({ key: tf.complex(normals(2, 5, 4), normals(2, 5, 4)) }));
    refuses('value', ['string'], () => ({ value: [[['a', 'b']]] }));
  });

  test('an empty axis', () => {
    refuses('query', ['2, 0, 4'], () => ({ query: tf.zeros([2, 0, 4]), probe: tf.zeros([2, 0, 4]) }));
    refuses('key', ['2, 0, 4'], () => ({ key: tf.zeros([2, 0, 4]), value: tf.zeros([2, 0, 6]) }));
    refuses('value', ['2, 5, 0'], () => ({ value: tf.zeros([2, 5, 0]) }));
    refuses('query', ['0, 3, 4'], () => ({ query: tf.zeros([0, 3, 4]) }));
  });

  test('a disposed tensor', () => {
    const disposed = (...shape: number[]) => {
      const tensor = normals(...shape);
      tensor.dispose();
      return tensor;
    };
    refuses('query', ['disposed'], () => ({ query: disposed(2, 3, 4) }));
    refuses('key', ['disposed'], () => ({ key: disposed(2, 5, 4) }));
    refuses('value', ['disposed'], () => ({ value: disposed(2, 5, 6) }));
    refusesOption('keyMask', disposed(2, 5), 'disposed');
    if (scored.includes(operator)) refusesOption('keyBias', disposed(2, 5), 'disposed');
    if (operator === 'localLinearAttention') refusesOption('ridge', disposed(2, 3), 'disposed');
  });

  test('a missing or odd argument', () => {
    refuses('query', ['undefined'], () => ({ query: undefined }));
    refuses('key', ['null'], () => ({ key: null }));
    refuses('value', [], () => ({ value: {} }));
    refuses('query', [], () => ({ query: [[[1, 2], [3]]] }));
  });

  test('options of another kind', () => {
    for (const options of [null, 3, 'causal', [1]]) {
      expectError(operator, 'options', [String(options)], () => call(operator, {}, options));
    }
  });

  test('an unknown option name', () => {
    refusesOption('casual', true, 'casual', 'causal');
    refusesOption('mask', true, 'mask', 'keyMask');
    if (operator === 'mesaAttention') refusesOption('scale', 1, 'scale');
    if (!scored.includes(operator)) refusesOption('keyBias', normals(2, 5), 'keyBias');
    if (operator !== 'localLinearAttention') refusesOption('solver', 'direct', 'solver');
    if (operator !== 'linearAttention') refusesOption('featureMap', 'relu', 'featureMap');
  });

  test('a bad causal, precision or scale', () => {
    refusesOption('causal', 1, '1');
    refusesOption('causal', 'yes', 'yes');
    refusesOption('causal', null, 'null');
    refusesOption('precision', 'low', 'low', 'high', 'fast');
    refusesOption('precision', 16, '16');
    if (operator === 'mesaAttention') return;
    refusesOption('scale', NaN, 'NaN');
    refusesOption('scale', Infinity, 'Infinity');
    refusesOption('scale', '1', "'1'");
  });

  test('a mask or a bias of a wrong shape or dtype', () => {
    refusesOption('keyMask', tf.ones([2, 3], 'bool'), '2, 3', '2, 5');
    refusesOption('keyMask', tf.ones([5], 'bool'), '5', '2, 5');
    refusesOption('keyMask', tf.ones([2, 1, 3, 5], 'bool'), '2, 1, 3, 5');
    refusesOption('keyMask', tf.fill([2, 5], 'a', 'string'), 'string');
    refusesOption('keyMask', null, 'null');
    if (!scored.includes(operator)) return;
    refusesOption('keyBias', normals(2, 3), '2, 3', '2, 5');
    refusesOption('keyBias', normals(5), '5', '2, 5');
    refusesOption('keyBias', normals(2, 3, 5), '2, 3, 5');
    refusesOption('keyBias', tf.fill([2, 5], 'a', 'string'), 'string');
    refusesOption('keyBias', tf.complex(normals(2, 5), normals(2, 5)), 'complex64');
  });

  test('a gradient of its gradient', () => {
    const inner = tf.grad((query) => call(operator, { query, probe: normals(2, 3, 4) }));
    expectError(operator, 'gradient', [], () => tf.grad((query) => inner(query))(normals(2, 3, 4)));
  });
});

describe.each(['localLinearAttention', 'mesaAttention'] as const)('%s refuses', (operator) => {
  const refuses = (ridge: unknown, ...given: string[]) =>
    expectError(operator, 'ridge', given, () => call(operator, {}, { ridge }));

  test('a ridge that is not positive and finite', () => {
    for (const ridge of [0, -1, NaN, Infinity, -Infinity]) refuses(ridge, String(ridge));
    refuses([0.5, -2, 1, 1], '-2');
    refuses(Float32Array.from([1, 0, 1, 1]), '0');
    refuses([[1, NaN, 1]], 'NaN');
    refuses('1', "'1'");
    refuses(null, 'null');
  });

  test('a ridge that does not broadcast', () => {
    refuses(tf.ones([7]), '7');
    refuses(tf.ones([2, 2, 3]), '2, 2, 3');
    refuses(tf.ones([0]), '0');
    refuses(tf.fill([2, 1], 'a', 'string'), 'string');
    if (operator === 'mesaAttention') refuses(tf.ones([2, 4]), '2, 4');
    else refuses(tf.ones([3, 1]), '3, 1');
  });
});

describe('localLinearAttention refuses', () => {
  test.each([
    ['tolerance', 0],
    ['tolerance', -1e-6],
    ['tolerance', NaN],
    ['tolerance', Infinity],
    ['tolerance', '1e-6'],
    ['maxIterations', 0],
    ['maxIterations', 2.5],
    ['maxIterations', NaN],
    ['maxIterations', Infinity],
    ['maxIterations', '8'],
    ['solver', 'cholesky'],
    ['solver', 1],
  ])('%s %p', (option, value) => {
    expectError('localLinearAttention', option, [String(value)], () =>
      call('localLinearAttention', {}, { [option]: value }),
    );
  });
});

describe('linearAttention refuses', () => {
  test.each([
    ['featureMap', 'softmax'],
    ['featureMap', 3],
    ['normalize', 1],
    ['normalize', 'yes'],
  ])('%s %p', (option, value) => {
    expectError('linearAttention', option, [String(value)], () => call('linearAttention', {}, { [option]: value }));
  });
});

describe('attentionWeights refuses', () => {
  const weights = attentionWeights as Untyped;

  test('an unknown operator', () => {
    expectError('attentionWeights', 'operator', ['attention'], () =>
      weights('attention', normals(2, 3, 4), normals(2, 5, 4)),
    );
  });

  test.each(operators.filter((name) => name !== 'parallaxAttention'))('what %s refuses', (operator) => {
    const run = (query: tf.Tensor, key: tf.Tensor, options: unknown) => () =>
      weights(shortName(operator), query, key, options);
    expectError(operator, 'key', ['2, 5, 3'], run(normals(2, 3, 4), normals(2, 5, 3), {}));
    expectError(operator, 'query', ['3, 4'], run(normals(3, 4), normals(2, 5, 3), {}));
    expectError(operator, 'casual', ['causal'], run(normals(2, 3, 4), normals(2, 5, 4), { casual: true }));
  });
});

test('a value of a tensor is never read for a check', () => {
  const tensors: NamedTensors = {
    query: normals(2, 3, 4),
    key: normals(2, 5, 4),
    value: normals(2, 5, 6),
    ridge: tf.tensor([1, -1, 1]),
  };
  const out = apply({ operator: 'localLinearAttention', options: {} }, tensors).arraySync() as number[][][];
  expect(out.map((head) => head.map((row) => row.some(Number.isNaN)))).toEqual([
    [false, true, false],
    [false, true, false],
  ]);
});
