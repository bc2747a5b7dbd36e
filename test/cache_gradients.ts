/** Gradients of steps against those of the operators' own calls, on the current backend. */
import * as tf from '@tensorflow/tfjs-core';
import { cacheFor, callOf, expectClose, isScored, read, stepOver, stepWith, tokens, tokensOf } from './cache_calls.js';
import { operators } from './cases.js';
import { Random } from './random.js';
import { apply, tensorsOf, toTensor, type NamedTensors } from './run_call.js';
import type { CacheExtent } from './cache_suite.js';
import type { Operator, TensorName } from './values.js';

const GRADIENT_BAR = 5e-4;

function namesOf(tensors: NamedTensors): TensorName[] {
  return (Object.keys(tensors) as TensorName[]).filter((name) => name !== 'keyMask');
}

function all(tensors: NamedTensors, names: readonly TensorName[], values: readonly tf.Tensor[]): NamedTensors {
  return { ...tensors, ...Object.fromEntries(names.map((name, i) => [name, values[i]])) };
}

/** Tokens before the step, its own, and the window. */
function stepsOf(operator: Operator, extent: CacheExtent): readonly (readonly [number, number, number])[] {
  if (extent === 'part') return [[7, 5, isScored(operator) ? 3 : 0]];
  const whole = [[0, 4, 0], [7, 1, 0], [7, 5, 0]] as const; // prettier-ignore
  return isScored(operator) ? [...whole, [7, 5, 3], [2, 4, 4]] : whole;
}

export function cacheGradientSuite(extent: CacheExtent): void {
  for (const operator of operators)
    describe(`gradients of ${operator}`, () => {
      for (const [prefill, t, window] of stepsOf(operator, extent))
        it(`after ${prefill} tokens, of a step of ${t}, window ${window}`, async () => {
          const T = prefill + t;
          const call = callOf(operator, T, 20 + t, { keyMask: true, keyBias: true, ridge: true });
          const tensors = tensorsOf(call);
          const names = namesOf(tensors);
          const cotangent = toTensor(new Random(30).normals([2, 2, t, 5]));
          const given = names.map((name) => tensors[name] as tf.Tensor);

          // The operator itself, row by row where a window moves: zeros for the rows before the step.
          const whole = tf.tidy(() => {
            const rows = (...values: tf.Tensor[]): tf.Tensor => apply(call, all(tensors, names, values));
            if (window === 0) {
              const padded = prefill === 0 ? cotangent : tf.concat([tf.zeros([2, 2, prefill, 5]), cotangent], 2);
              return tf.grads(rows)(given, padded);
            }
            const sums = given.map((x) => tf.zerosLike(x));
            for (let row = prefill; row < T; row++) {
              const first = Math.max(0, row + 1 - window);
              const seen = tokens(operator, tensors, first, row + 1);
              const own = tokens(operator, tensors, row, row + 1);
              const inputs: NamedTensors = { ...seen, query: own.query };
              if (own.probe) inputs.probe = own.probe;
              if (own.ridge) inputs.ridge = own.ridge;
              const single = (...values: tf.Tensor[]) => apply(call, all(inputs, names, values));
              const part = tokensOf(operator, 'query', cotangent, row - prefill, row - prefill + 1);
              const gradients = tf.grads(single)(names.map((name) => inputs[name] as tf.Tensor), part); // prettier-ignore
              gradients.forEach((gradient, i) => {
                const axis = gradient.rank - (names[i] === 'ridge' || names[i] === 'keyBias' ? 1 : 2);
                const start = gradient.shape[axis] === 1 ? row : first;
                const after = T - start - (gradient.shape[axis] ?? 0);
                const pads = gradient.shape.map((_, a): [number, number] => (a === axis ? [start, after] : [0, 0]));
                sums[i] = tf.add(sums[i], tf.pad(gradient, pads));
              });
            }
            return sums;
          });
          const expectedParts = whole.map((gradient, i) => tokensOf(operator, names[i], gradient, prefill, T));

          const cache = cacheFor(call, window > 0 ? { window } : {});
          if (prefill > 0) stepOver(cache, call, tensors, 0, prefill).dispose();
          const own = tokens(operator, tensors, prefill, T);
          const step = (...values: tf.Tensor[]): tf.Tensor => {
            const out = stepWith(cache, all(own, names, values));
            // What a later step writes must not change the gradient of this one.
            stepOver(cache, call, tensors, 0, T).dispose();
            return out;
          };
          const before = tf.memory().numTensors;
          // Those of the cache itself: its first step makes them.
          const made = prefill === 0 ? 3 : 0;
          const gradients = tf.tidy(() => tf.grads(step)(names.map((name) => own[name] as tf.Tensor), cotangent)); // prettier-ignore
          expect(tf.memory().numTensors).toBe(before + names.length + made);
          for (const [i] of names.entries()) {
            const { out, shape } = await read(expectedParts[i]);
            await expectClose(gradients[i], { data: out, shape }, GRADIENT_BAR);
          }
          cache.dispose();
          tf.dispose([tensors, own, cotangent, whole]);
        });
    });
}
