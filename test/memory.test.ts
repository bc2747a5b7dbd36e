import * as tf from '@tensorflow/tfjs-core';
import { localLinearAttention } from '../src/index.js';
import { backends, useBackend } from './backends.js';
import { operators } from './cases.js';
import { Random } from './random.js';
import { apply, applyWeights, tensorsOf, toTensor } from './run_call.js';
import type { Call, Operator } from './values.js';

/** A call that holds every tensor its operator takes. */
function callOf(operator: Operator): Call {
  const random = new Random(3);
  const scored = operator !== 'linearAttention' && operator !== 'mesaAttention';
  return {
    operator,
    options: { causal: true },
    tensors: {
      query: random.normals([2, 2, 7, 6]),
      key: random.normals([2, 2, 9, 6]),
      value: random.normals([2, 2, 9, 4]),
      keyMask: random.mask([2, 9], 0.8),
      ...(operator === 'parallaxAttention' && { probe: random.normals([2, 2, 7, 6]) }),
      ...(operator === 'localLinearAttention' && { ridge: random.logUniform([7], 0.1, 2) }),
      ...(operator === 'mesaAttention' && { ridge: random.logUniform([6], 0.1, 2) }),
      ...(scored && { keyBias: random.normals([2, 9]) }),
    },
  };
}

function counts(): { numTensors: number; numDataBuffers: number } {
  const { numTensors, numDataBuffers } = tf.memory();
  return { numTensors, numDataBuffers };
}

describe.each(backends)('memory on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  describe.each(operators)('%s', (operator) => {
    const call = callOf(operator);

    test('a forward call leaves its result and nothing else', () => {
      const tensors = tensorsOf(call);
      const before = counts();
      const out = apply(call, tensors);
      expect(counts()).toEqual({ numTensors: before.numTensors + 1, numDataBuffers: before.numDataBuffers + 1 });
      out.dispose();
      expect(counts()).toEqual(before);
      tf.dispose(tensors);
    });

    test('attentionWeights leaves its result and nothing else', () => {
      const tensors = tensorsOf(call);
      const before = counts();
      const weights = applyWeights(call, tensors);
      expect(counts()).toEqual({ numTensors: before.numTensors + 1, numDataBuffers: before.numDataBuffers + 1 });
      weights.dispose();
      expect(counts()).toEqual(before);
      tf.dispose(tensors);
    });

    test('gradients leave one tensor per input', () => {
      const { keyMask, ...tensors } = tensorsOf(call);
      const inputs = Object.values(tensors);
      const names = Object.keys(tensors);
      const before = counts();
      const gradients = tf.grads((...given: tf.Tensor[]) =>
        apply(call, { keyMask, ...Object.fromEntries(names.map((name, i) => [name, given[i]])) }),
      )(inputs);
      expect(counts().numTensors).toBe(before.numTensors + inputs.length);
      tf.dispose(gradients);
      expect(counts()).toEqual(before);
      tf.dispose([...inputs, keyMask ?? []]);
    });

    test('a gradient with respect to one input only', () => {
      const tensors = tensorsOf(call);
      const value = toTensor(call.tensors.value);
      const before = counts();
      const gradient = tf.grad((v: tf.Tensor) => apply(call, { ...tensors, value: v }))(value);
      expect(counts()).toEqual({ numTensors: before.numTensors + 1, numDataBuffers: before.numDataBuffers + 1 });
      tf.dispose([gradient, value, ...Object.values(tensors)]);
    });

    test('inside tf.tidy', () => {
      const before = counts();
      tf.tidy(() => {
        apply(call, tensorsOf(call));
      });
      expect(counts()).toEqual(before);
    });

    test('a call that throws leaves nothing, not even of its converted inputs', () => {
      const tensors = tensorsOf(call);
      const wrong = tf.ones([3, 3], 'int32');
      const ints = { ...tensors, query: tf.cast(tensors.query ?? wrong, 'int32') };
      const before = counts();
      expect(() => apply(call, { ...ints, keyMask: wrong })).toThrow('keyMask');
      expect(() => apply(call, { ...ints, value: wrong })).toThrow('value');
      expect(() => applyWeights(call, { ...ints, keyMask: wrong })).toThrow('keyMask');
      expect(() =>
        tf.grad((query: tf.Tensor) => apply(call, { ...tensors, query, keyMask: wrong }))(ints.query),
      ).toThrow();
      expect(counts()).toEqual(before);
      tf.dispose([tensors, ints, wrong]);
    });
  });

  test('nested arrays are converted and not kept', () => {
    const rows = [[[1, 2], [3, 4], [5, 6]]]; // prettier-ignore
    const before = counts();
    const out = localLinearAttention(rows, rows, rows, {
      keyMask: [[true, false, true]],
      keyBias: [[0, 1, 2]],
      ridge: [[1, 2, 3]],
    });
    expect(out.shape).toEqual([1, 3, 2]);
    expect(counts().numTensors).toBe(before.numTensors + 1);
    expect(() => localLinearAttention(rows, rows, [[[1]]], {})).toThrow('value');
    expect(() => localLinearAttention(rows, rows, rows, { keyMask: [[true]] })).toThrow('keyMask');
    out.dispose();
    expect(counts()).toEqual(before);
  });

  test('variableGrads and an optimizer step train through every input', async () => {
    const before = counts();
    const call = callOf('localLinearAttention');
    const tensors = tensorsOf(call);
    const variables = ['query', 'key', 'value', 'ridge', 'keyBias'] as const;
    const trained = Object.fromEntries(
      variables.map((name) => [name, tf.variable(tensors[name] ?? tf.scalar(0), true, `memory/${backend}/${name}`)]),
    );
    const target = toTensor(new Random(8).normals([2, 2, 7, 4]));
    // With a gradient of its own: the loss must not need gradients of tfjs that a program may not have registered.
    const meanSquare = tf.customGrad<tf.Scalar>((...inputs) => {
      const [x, save] = inputs as [tf.Tensor, tf.GradSaveFunc];
      const difference = tf.sub(x, target);
      save([difference]);
      return {
        value: tf.mean(tf.square(difference)),
        gradFunc: (dy, [saved]: tf.Tensor[]) => tf.mul(dy, tf.mul(saved, 2 / saved.size)),
      };
    });
    const loss = () => meanSquare(apply(call, { ...tensors, ...trained }));
    const optimizer = tf.train.sgd(0.05);
    const { value: first, grads } = tf.variableGrads(loss);
    expect(Object.keys(grads)).toHaveLength(variables.length);
    optimizer.applyGradients(grads);
    tf.dispose(grads);
    const afterOne = counts();
    for (let step = 0; step < 3; step++) optimizer.minimize(loss);
    expect(counts()).toEqual(afterOne);
    const last = tf.tidy(loss);
    const [[firstLoss], [lastLoss]] = [await first.data(), await last.data()];
    expect(lastLoss).toBeLessThan(firstLoss);
    optimizer.dispose();
    tf.dispose([first, last, target, tensors, trained]);
    expect(counts()).toEqual(before);
  });
});
