/** Whatever is wrong with a layer's arguments or inputs, the message names the layer and the argument. */
import * as tf from '@tensorflow/tfjs-core';
import { input, type layers as tfLayers, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import { layers } from '../../src/layers/index.js';
import { useBackend } from '../backends.js';
import { attentionKinds, kinds, makeLayer, type Kind } from './kinds.js';

// Only what the types refuse goes through here, as a caller without types would pass it.
type Untyped = (args?: unknown) => tfLayers.Layer;

/** What a caller without types may take for tensors. */
const untyped = (values: unknown[]) => values as tf.Tensor[];

/** Makes a layer of a kind with arguments that may be wrong. */
function make(kind: Kind, args: Record<string, unknown> = {}): tfLayers.Layer {
  const block = kind === 'transformerBlock' ? { attention: 'softmax' } : {};
  return (layers[kind] as Untyped)({ ...block, numHeads: 2, keyDim: 4, ...args });
}

/** The message names layer, argument and whatever else is given. */
function refuses(run: () => unknown, ...parts: (string | RegExp)[]): void {
  let message = '';
  tf.tidy(() => {
    try {
      run();
    } catch (error) {
      message = (error as Error).message;
    }
  });
  for (const part of parts) expect(message).toMatch(part instanceof RegExp ? part : new RegExp(escaped(part)));
}

const escaped = (text: string) => text.replace(/[[\]().*+?{}|^$\\]/g, '\\$&');

beforeAll(() => useBackend('cpu'));

describe.each(kinds)('%s refuses', (kind) => {
  const refusesArgument = (name: string, value: unknown, ...parts: (string | RegExp)[]) =>
    refuses(
      () => make(kind, { [name]: value, name: 'mine' }),
      new RegExp(`^${kind} 'mine': ${escaped(name)}\\b`),
      ...parts,
    );

  test('nothing, where all is well', () => {
    expect(make(kind).apply(tf.zeros([1, 2, 8]))).toBeInstanceOf(tf.Tensor);
    // As tfjs's own layers, which take a null for no options.
    expect(makeLayer(kind).apply(tf.zeros([1, 2, 8]), null)).toBeInstanceOf(tf.Tensor);
    expect(make(kind, { valueDim: null, rotary: null, kernelRegularizer: null })).toBeDefined();
  });

  test('an unknown argument', () => {
    refusesArgument('numHead', 2, 'is no argument of this layer', 'numHeads');
    refusesArgument('num_heads', 2, 'is no argument');
    refusesArgument('attentionAxes', [1], 'is no argument');
    refusesArgument('useGate', true, 'is no argument');
    if (kind !== 'linearAttention') refusesArgument('featureMap', 'relu', 'is no argument');
    if (kind === 'softmaxAttention') refusesArgument('ridge', 1, 'is no argument');
    if (kind === 'transformerBlock') refusesArgument('outputShape', 4, 'is no argument');
  });

  test('a missing or unusable size', () => {
    for (const name of ['numHeads', 'keyDim']) {
      refusesArgument(name, undefined, 'is missing');
      refusesArgument(name, null, 'is missing');
      for (const value of [0, -1, 1.5, NaN, '4']) refusesArgument(name, value, 'positive integer');
    }
    refusesArgument('valueDim', 0, 'positive integer');
    refuses(() => (layers[kind] as Untyped)(), kind, /numHeads|attention/);
    refuses(() => (layers[kind] as Untyped)(3), kind, /arguments|attention/);
  });

  test.each<[string, unknown]>([
    ['dropout', 1],
    ['dropout', -0.1],
    ['dropout', NaN],
    ['dropout', '0.1'],
    ['seed', 1.5],
    ['useBias', 1],
    ['useCausalMask', 'yes'],
    ['precision', 'low'],
    ['rotary', 'yes'],
    ['rotary', { theta: 100 }],
    ['rotary', { base: -1 }],
    ['rotary', { fraction: 0 }],
    ['rotary', { fraction: 1.5 }],
    ['rotary', { fraction: 0.25 }],
    ['kernelInitializer', 'glorotUnifrom'],
    ['kernelInitializer', { className: 'Nothing', config: {} }],
    ['biasInitializer', 'zeroes'],
    ['kernelRegularizer', 'l3'],
    ['biasRegularizer', 'l3'],
    ['kernelConstraint', 'positive'],
    ['biasConstraint', 'positive'],
    ['activityRegularizer', 'l1l2'],
    ['trainable', 'no'],
  ])('%s: %p', (name, value) => refusesArgument(name, value));

  test('inputs of a wrong rank, kind or number', () => {
    const layer = make(kind, { name: 'mine' });
    const label = `${kind} 'mine': `;
    const x = () => tf.zeros([2, 3, 8]);
    refuses(() => layer.apply(tf.zeros([2, 8])), label, 'query', '[2, 8]');
    refuses(() => layer.apply(tf.zeros([2, 1, 3, 8])), label, 'query', '[2, 1, 3, 8]');
    refuses(() => layer.apply(tf.zeros([2, 0, 8])), label, 'query', 'empty');
    refuses(() => layer.apply([x(), x(), x(), x(), x()]), label, 'inputs', '5');
    refuses(() => layer.apply([]), label, 'inputs', '0');
    for (const odd of untyped([undefined, null, 3, [[1, 2]], x().arraySync()])) {
      refuses(() => layer.apply(odd), label, 'inputs', 'must be');
    }
    refuses(() => layer.apply(input({ shape: [null, null] })), label, 'query', 'known number of features');
    refuses(() => layer.apply(input({ shape: [8] })), label, 'query', '[null, 8]');
    const disposed = x();
    layer.apply(x());
    disposed.dispose();
    refuses(() => layer.apply(disposed), label, 'disposed');
    refuses(() => layer.apply(tf.fill([2, 3, 8], 'a', 'string')), label, 'dtype', 'string');
    refuses(() => layer.apply(tf.zeros([2, 3, 7])), label, 'query', '8 features', '[2, 3, 7]');
    refuses(() => layer.apply(input({ shape: [3, 7] })), label, 'query', '8 features');
  });

  test("Keras' call arguments that would be ignored", () => {
    const layer = make(kind, { name: 'mine' });
    for (const name of ['attentionMask', 'useCausalMask', 'returnAttentionScores', 'queryMask', 'valueMask', 'key']) {
      refuses(() => layer.apply(tf.zeros([2, 3, 8]), { [name]: true }), `${kind} 'mine': ${name}`);
    }
    const symbol = input({ shape: [3, 8] });
    refuses(() => layer.apply(symbol, { mask: tf.ones([2, 3]) }), `${kind} 'mine': mask`, 'last input');
  });

  test('masks of a wrong shape or kind', () => {
    const layer = make(kind, { name: 'mine' });
    const x = tf.zeros([2, 3, 8]);
    const label = `${kind} 'mine': `;
    const masked = (mask: unknown) => () => layer.apply(x, { mask });
    refuses(masked([tf.ones([2, 4])]), label, 'mask[0]', '[2, 3]', '[2, 4]');
    refuses(masked([tf.ones([2, 3, 3])]), label, 'mask[0]', 'full attention mask');
    refuses(masked(tf.ones([2, 3, 3])), label, 'mask', '[2, 3, 3]', 'not supported');
    refuses(masked([]), label, 'mask', 'an entry per input');
    refuses(masked([null, null, null]), label, 'mask', '3');
    refuses(masked([3]), label, 'mask[0]', '3');
    refuses(masked('yes'), label, 'mask', "'yes'");
    refuses(masked(tf.fill([2, 3], 'a', 'string')), label, 'mask', 'string');
    const disposed = tf.ones([2, 3]);
    disposed.dispose();
    refuses(masked([disposed]), label, 'mask[0]', 'disposed');
  });

  test('a backend call that throws leaves the layer usable', () => {
    const layer = make(kind);
    refuses(() => layer.apply(tf.zeros([2, 3])), 'query');
    expect((layer.apply(tf.zeros([2, 3, 8])) as tf.Tensor).shape).toEqual([2, 3, 8]);
  });
});

describe.each(attentionKinds)('%s refuses, of several inputs,', (kind) => {
  const x = (...shape: number[]) => tf.zeros(shape);
  const refusesInputs = (inputs: () => tf.Tensor[], ...parts: string[]) => {
    const layer = make(kind, { name: 'mine' });
    refuses(() => layer.apply(inputs()), `${kind} 'mine': `, ...parts);
    // In a model the same, as far as sizes are known.
    const symbols = () => inputs().map(({ shape }) => input({ batchShape: shape }));
    refuses(() => make(kind, { name: 'mine' }).apply(symbols()), `${kind} 'mine': `, ...parts);
  };

  test('those that do not fit', () => {
    refusesInputs(() => [x(2, 3, 8), x(2, 5)], 'value', 'rank 3', '[2, 5]');
    refusesInputs(() => [x(2, 3, 8), x(3, 5, 8)], 'value', 'batch size', '[3, 5, 8]');
    refusesInputs(() => [x(2, 3, 8), x(2, 5, 8), x(2, 4, 8)], 'key', 'as long as value', '[2, 4, 8]');
    refusesInputs(() => [x(2, 3, 8), x(2, 5, 8), x(2, 5, 8, 1)], 'key', 'rank 3', '[2, 5, 8, 1]');
    refusesInputs(() => [x(2, 3, 8), x(2, 5, 8), x(5)], 'key', 'rank 3', '[5]');
  });

  test('a mask input of a wrong shape', () => {
    refusesInputs(() => [x(2, 3, 8), x(2, 5, 8), x(2, 3)], 'mask', '[2, 5]', '[2, 3]');
    refusesInputs(() => [x(2, 3, 8), x(2, 5, 8), x(3, 5)], 'mask', '[2, 5]', '[3, 5]');
    refusesInputs(() => [x(2, 3, 8), x(2, 5, 8), x(2, 5, 8), x(2, 3)], 'mask', '[2, 5]', '[2, 3]');
    refusesInputs(() => [x(2, 3, 8), x(2, 5, 8), x(2, 5, 8), x(2, 3, 5)], 'mask', 'full attention mask');
    refusesInputs(() => [x(2, 3, 8), x(2, 5, 8), x(2, 5, 8), x(2, 5, 8)], 'mask', '[2, 5]');
  });

  test('listed masks of a wrong shape', () => {
    const layer = make(kind, { name: 'mine' });
    const masked = (...mask: unknown[]) => refuses(() => layer.apply([x(2, 3, 8), x(2, 5, 8)], { mask }), 'mask[1]');
    masked(null, x(2, 3));
    masked(null, x(2, 3, 5));
  });

  test('a value of other features than the layer was built for', () => {
    const layer = make(kind, { name: 'mine' });
    layer.apply([x(2, 3, 8), x(2, 5, 6)]);
    refuses(() => layer.apply([x(2, 3, 8), x(2, 5, 7)]), `${kind} 'mine': value`, '6 features', '[2, 5, 7]');
    refuses(() => layer.apply(x(2, 3, 8)), `${kind} 'mine': value`, '6 features');
  });
});

describe('transformerBlock refuses', () => {
  const make = layers.transformerBlock as Untyped;
  const common = { numHeads: 2, keyDim: 4 };

  test('an unknown kind of attention', () => {
    for (const attention of [undefined, null, 'lla', 'localLinearAttention', 3]) {
      refuses(() => make({ ...common, attention }), 'transformerBlock', 'attention', "'localLinear'", "'mesa'");
    }
  });

  test('arguments of another kind of attention, and unusable ones of its own', () => {
    refuses(() => make({ ...common, attention: 'softmax', ridge: 1 }), 'transformerBlock: ridge is no argument');
    refuses(() => make({ ...common, attention: 'mesa', ridge: -1 }), 'transformerBlock: ridge', '-1');
    refuses(() => make({ ...common, attention: 'softmax', mlpRatio: 0 }), 'transformerBlock: mlpRatio');
    refuses(() => make({ ...common, attention: 'softmax', epsilon: -1 }), 'transformerBlock: epsilon');
  });

  test('an mlp of no whole number of units, and inputs that it cannot have', () => {
    const layer = make({ ...common, attention: 'softmax', mlpRatio: 1.3, name: 'mine' });
    refuses(() => layer.apply(tf.zeros([1, 2, 8])), "transformerBlock 'mine': mlpRatio", '1.3 * 8');
    const block = makeLayer('transformerBlock', { name: 'mine' });
    const x = () => tf.zeros([1, 2, 8]);
    refuses(() => block.apply([x(), x()]), "transformerBlock 'mine': mask", 'rank 2', '[1, 2, 8]');
    refuses(() => block.apply([x(), tf.ones([1, 3])]), "transformerBlock 'mine': mask", '[1, 2]', '[1, 3]');
    refuses(() => block.apply([x(), x(), tf.ones([1, 2])]), "transformerBlock 'mine': inputs", '3');
  });
});

describe('a ridge', () => {
  test.each(['localLinearAttention', 'mesaAttention'] as const)('of %s has to be positive', (kind) => {
    for (const ridge of [0, -1, NaN, Infinity, '1', [1]]) refuses(() => make(kind, { ridge }), kind, 'ridge');
    refuses(() => make(kind, { trainableRidge: 1 }), kind, 'trainableRidge');
  });

  test('and the solver has to be one', () => {
    refuses(() => make('localLinearAttention', { solver: 'cholesky' }), 'localLinearAttention: solver', 'cholesky');
    refuses(() => make('localLinearAttention', { tolerance: 0 }), 'localLinearAttention: tolerance');
    refuses(() => make('localLinearAttention', { maxIterations: 1.5 }), 'localLinearAttention: maxIterations');
    refuses(() => make('linearAttention', { featureMap: 'exp' }), 'linearAttention: featureMap', 'exp');
    refuses(() => make('linearAttention', { normalize: 1 }), 'linearAttention: normalize');
  });
});

test('symbolic and eager inputs do not mix', () => {
  const symbol: SymbolicTensor = input({ shape: [3, 8] });
  const mixed: unknown = [symbol, tf.zeros([2, 3, 8])];
  expect(() => make('softmaxAttention').apply(mixed as tf.Tensor[])).toThrow('all SymbolicTensors or all Tensors');
});
