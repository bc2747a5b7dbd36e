/**
 * A wrong call, by the public functions or straight to our operations in TensorFlow, is a JavaScript error with our
 * operator's name, and the process lives on. A call below that happens to be right has to work.
 */
import { isNativeError } from 'node:util/types';
import * as tf from '@tensorflow/tfjs-core';
import { executeOp, type OpAttr, type OpCall } from '../../kernels/common/tensorflow/call.js';
import { isTensorflow } from '../../src/native/op_library.js';
import { operatorSpecs } from '../../src/operators.js';
import { cudaOperations, useBackend } from '../backends.js';
import { cacheFor, callOf, stepWith } from '../cache_calls.js';
import { operators } from '../cases.js';
import { Random } from '../random.js';
import { apply, tensorsOf, toTensor, type NamedTensors } from '../run_call.js';
import type { Operator } from '../values.js';

/** Calls of each kind. */
const CALLS = 1000;

type Kind = Pick<tf.TensorInfo, 'shape' | 'dtype'>;

/** A call of one of our operations, as the kernels make it, with any numbers. */
type RecordedCall = Omit<OpCall, 'inputs'> & { readonly inputs: readonly Kind[] };

const random = new Random(2026);

function draw<T>(from: readonly T[]): T {
  return from[Math.floor(random.uniform() * from.length)];
}

function tensorflow() {
  const backend: unknown = tf.backend();
  if (!isTensorflow(backend)) throw new Error('backend tensorflow is not the current one');
  return backend;
}

function rightTensors(operator: Operator): NamedTensors {
  const normals = (...shape: number[]) => toTensor(random.normals(shape));
  return {
    query: normals(2, 2, 3, 4),
    key: normals(2, 2, 5, 4),
    value: normals(2, 2, 5, 6),
    keyMask: toTensor(random.mask([2, 5], 0.7), 'bool'),
    ...(operator === 'parallaxAttention' && { probe: normals(2, 2, 3, 4) }),
    ...(operator === 'localLinearAttention' && { ridge: toTensor(random.logUniform([2, 2, 3], 0.1, 2)) }),
    ...(operator === 'mesaAttention' && { ridge: toTensor(random.logUniform([2, 4], 0.1, 2)) }),
    ...(operator !== 'linearAttention' && operator !== 'mesaAttention' && { keyBias: normals(2, 2, 5) }),
  };
}

/** Any rank, size and type; axes too many, too long or empty. */
function anyKind(): Kind {
  const shape = Array.from({ length: Math.floor(random.uniform() * 6) }, () => draw([0, 1, 2, 3, 4, 5, 6, 64]));
  // No more than some thousand numbers.
  while (shape.reduce((a, b) => a * b, 1) > 10_000) shape.pop();
  return { shape, dtype: draw(['float32', 'int32', 'bool', 'complex64', 'string'] as const) };
}

/** The message of what `run` throws; `undefined` where it works. */
function messageOf(run: () => void): string | undefined {
  try {
    tf.tidy(run);
    return undefined;
  } catch (error) {
    // The addon's errors are of Node's realm, not of jest's sandbox.
    if (!isNativeError(error)) throw error;
    return error.message;
  }
}

beforeAll(() => useBackend('tensorflow'));

/** How many operations of an operator are called: forward, gradient and step, on a GPU those that have a CUDA kernel. */
function operationsOf(operator: Operator): number {
  const spec = operatorSpecs.find((one) => one.operator === operator);
  const names = ['', 'Grad', 'Step'].map((suffix) => `${spec?.kernelName ?? operator}${suffix}`);
  return names.filter((name) => cudaOperations()?.includes(name) ?? true).length;
}

/** The calls of our operations that an operator makes: forward, gradient and a step of its cache. */
function recordCalls(operator: Operator): RecordedCall[] {
  const calls: RecordedCall[] = [];
  const backend = tensorflow();
  const execute = backend.executeMultipleOutputs.bind(backend);
  const spy = jest.spyOn(backend, 'executeMultipleOutputs').mockImplementation((name, attrs, inputs, outputs) => {
    const kinds = inputs.map(({ shape, dtype }) => ({ shape, dtype }));
    if (name.startsWith('TfjsLla')) calls.push({ name, attrs, inputs: kinds, outputs });
    return execute(name, attrs, inputs, outputs);
  });
  tf.tidy(() => {
    const { query, ...others } = rightTensors(operator);
    if (query)
      tf.grad((x: tf.Tensor) => apply({ operator, options: { causal: true } }, { ...others, query: x }))(query);
  });
  tf.tidy(() => {
    const call = callOf(operator, 4, 5, { keyMask: true, keyBias: true, ridge: true });
    const cache = cacheFor(call, { capacity: 8 });
    stepWith(cache, tensorsOf(call));
    cache.dispose();
  });
  spy.mockRestore();
  return calls;
}

const values = [-1, 0, 1, 2, 1e9, NaN, Infinity, 0.5, true, false, '', 'auto', 'relu', 'no such thing'];

/** Attributes with one of them taken away, changed or given another type. */
function spoiltAttrs(attrs: readonly OpAttr[]): OpAttr[] {
  const { TF_ATTR_BOOL, TF_ATTR_FLOAT, TF_ATTR_INT, TF_ATTR_STRING } = tensorflow().binding;
  const spoilt = draw(attrs);
  const others = attrs.filter((attr) => attr !== spoilt);
  const isCount = spoilt.name.startsWith('num_');
  switch (draw(['leave out', 'value', 'value', 'type', 'name'] as const)) {
    case 'leave out':
      return others;
    case 'value':
      // tfjs-node itself asks for outputs that are not there where a count says that there is none: a count stays or grows,
      // and TensorFlow makes room for as many inputs as it says.
      return [...others, { ...spoilt, value: draw(isCount ? [-1, 2, 3, 1000] : values) }];
    case 'type': {
      const type = draw([TF_ATTR_BOOL, TF_ATTR_FLOAT, TF_ATTR_INT, TF_ATTR_STRING].filter((x) => x !== spoilt.type));
      return [...others, { ...spoilt, type }];
    }
    case 'name':
      return [...others, { ...spoilt, name: draw(['casual', 'T', 'num_keys']) }];
  }
}

/** Inputs with one of them taken away, given twice, exchanged with another, or replaced. */
function spoiltInputs(inputs: readonly Kind[]): readonly Kind[] {
  const at = Math.floor(random.uniform() * inputs.length);
  const replaced = (by: Kind) => inputs.map((input, i) => (i === at ? by : input));
  switch (draw(['leave out', 'twice', 'exchange', 'replace', 'replace', 'axis', 'axis'] as const)) {
    case 'leave out':
      return inputs.filter((_, i) => i !== at);
    case 'twice':
      return [...inputs, inputs[at]];
    case 'exchange':
      return replaced(draw(inputs));
    case 'axis': {
      const { shape, dtype } = inputs[at];
      const axis = Math.floor(random.uniform() * shape.length);
      return replaced({ shape: shape.map((size, i) => (i === axis ? draw([0, size + 1, 1]) : size)), dtype });
    }
    case 'replace': {
      const { shape, dtype } = anyKind();
      return replaced({ shape, dtype });
    }
  }
}

test.each(operators)('%s: calls straight to its operations', (operator) => {
  const calls = recordCalls(operator);
  expect(calls.map(({ name }) => name)).toHaveLength(operationsOf(operator));
  const before = tf.memory();
  const wrong: string[] = [];
  let refused = 0;
  for (let i = 0; i < CALLS / operators.length; i++) {
    const call = draw(calls);
    const spoilsInputs = random.uniform() < 0.6;
    const attrs = spoilsInputs ? call.attrs : spoiltAttrs(call.attrs);
    const inputs = spoilsInputs ? spoiltInputs(call.inputs) : call.inputs;
    const message = messageOf(() => run(operator, { ...call, attrs, inputs }));
    if (message === undefined) continue;
    refused++;
    if (!message.includes(operator)) wrong.push(`${JSON.stringify({ attrs, inputs })}: ${message}`);
  }
  expect(wrong).toEqual([]);
  expect(refused).toBeGreaterThan((0.5 * CALLS) / operators.length);
  expect(tf.memory().numTensors).toBe(before.numTensors);
  // What is right works as before.
  for (const call of calls) expect(messageOf(() => run(operator, call))).toBeUndefined();
});

/** Runs a call; tensors are the caller's to dispose of. */
function run(operator: Operator, { inputs, ...call }: RecordedCall): void {
  executeOp(operator, tensorflow(), { ...call, inputs: inputs.map(filled) });
}

function filled({ shape, dtype }: Kind): tf.Tensor {
  return dtype === 'string' ? tf.fill([...shape], 'text') : tf.ones([...shape], dtype);
}

const optionValues: readonly (readonly [string, readonly unknown[]])[] = [
  ['ridge', [-1, 0, NaN, Infinity, [1, 2, 3, 4, 5, 6, 7], [], 'one', {}]],
  ['scale', ['1', NaN, Infinity, [1], {}]],
  ['causal', [1, 'yes', {}]],
  ['solver', ['cg', 1, {}]],
  ['tolerance', [-1, NaN, '1']],
  ['maxIterations', [0, 1.5, '10']],
  ['featureMap', ['exp', 3]],
  ['normalize', [1, 'no']],
  ['precision', ['low', 0]],
  ['casual', [true]],
];

test.each(operators)('%s: calls of the public function', (operator) => {
  const before = tf.memory();
  const wrong: string[] = [];
  let refused = 0;
  for (let i = 0; i < CALLS / operators.length; i++) {
    const [option, choices] = draw(optionValues);
    const spoilsOption = random.uniform() < 0.4;
    const value = draw(choices);
    let replaced = '';
    const message = messageOf(() => {
      const tensors = rightTensors(operator);
      const name = draw(Object.keys(tensors) as (keyof NamedTensors)[]);
      const tensor = filled(anyKind());
      replaced = spoilsOption ? `${option} ${String(value)}` : `${name} ${tensor.dtype} [${tensor.shape.join()}]`;
      const options = spoilsOption ? { [option]: value } : {};
      apply({ operator, options }, spoilsOption ? without(tensors, option) : { ...tensors, [name]: tensor });
    });
    if (message === undefined) continue;
    refused++;
    if (!message.includes(operator)) wrong.push(`${replaced}: ${message}`);
  }
  expect(wrong).toEqual([]);
  expect(refused).toBeGreaterThan((0.5 * CALLS) / operators.length);
  expect(tf.memory().numTensors).toBe(before.numTensors);
});

/** An option is given once: as a tensor, or as what replaces it. */
function without(tensors: NamedTensors, option: string): NamedTensors {
  return Object.fromEntries(Object.entries(tensors).filter(([name]) => name !== option));
}
