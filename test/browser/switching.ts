/** A page that switches between all backends: every operator, its gradients and its cache on one after another. */
import '@tensorflow/tfjs-backend-cpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { cacheFor, callOf, stepOver } from '../cache_calls.js';
import { operators } from '../cases.js';
import { Random } from '../random.js';
import { runCall, tensorsOf } from '../run_call.js';
import { relativeL2 } from '../values.js';

/** Where karma serves the files of a package. */
const WASM_FILES = '/base/node_modules/@tensorflow/tfjs-backend-wasm/dist/';

const BACKENDS = ['cpu', 'wasm', 'webgl', 'webgpu'];

const TOKENS = 12;

/** What a backend made of the calls, by what it is, and what it held when all of it was disposed. */
interface Visit {
  readonly numbers: Readonly<Record<string, ArrayLike<number>>>;
  /** Tensors more than before. */
  readonly leaked: number;
  /** Undefined where the backend has no device. */
  readonly numBytesInGPU: number | undefined;
}

async function visit(backend: string): Promise<Visit> {
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} is not available`);
  await tf.ready();
  const before = tf.memory().numTensors;
  const numbers: Record<string, ArrayLike<number>> = {};
  for (const operator of operators) {
    const call = callOf(operator, TOKENS, 1, { keyMask: true, keyBias: true, ridge: true });
    const { out, gradients } = await runCall(call, new Random(2).normals([2, 2, TOKENS, 5]).data);
    numbers[`${operator} out`] = out;
    for (const [name, gradient] of Object.entries(gradients)) numbers[`${operator} d${name}`] = gradient;
    const tensors = tensorsOf(call);
    const cache = cacheFor(call, { capacity: 4 });
    let from = 0;
    for (const t of [3, 1, 8]) {
      const step = stepOver(cache, call, tensors, from, from + t);
      numbers[`${operator} tokens ${from} to ${from + t - 1}`] = await step.data();
      step.dispose();
      from += t;
    }
    cache.dispose();
    tf.dispose(tensors);
  }
  const { numTensors, ...memory } = tf.memory();
  const { numBytesInGPU } = memory as { numBytesInGPU?: number };
  return { numbers, leaked: numTensors - before, numBytesInGPU };
}

/** The first round meets every backend for the first time, the second one in reverse. */
const ORDERS = [BACKENDS, [...BACKENDS].reverse()];

export function switchingSuite(): void {
  describe('a page that switches between backends', () => {
    const rounds: Record<string, Visit>[] = ORDERS.map(() => ({}));

    beforeAll(() => {
      setWasmPaths(WASM_FILES);
    });

    for (const [round, order] of ORDERS.entries()) {
      for (const backend of order) {
        it(`leaks nothing on ${backend}, round ${round + 1}`, async () => {
          rounds[round][backend] = await visit(backend);
          expect(rounds[round][backend].leaked).toBe(0);
        });
      }
    }

    it('gets the same numbers on all', () => {
      const expected = Object.entries(rounds[0].cpu.numbers);
      // Each operator's output, its gradients and three steps: five operators of at least seven arrays.
      expect(expected.length >= 35).toBe(true);
      for (const round of rounds) {
        for (const backend of BACKENDS) {
          const { numbers } = round[backend];
          // Written so that a NaN is wrong.
          const wrong = expected.filter(([name, values]) => !(relativeL2(numbers[name], values) <= 1e-4));
          expect([backend, ...wrong.map(([name]) => name)]).toEqual([backend]);
        }
      }
    });

    it('holds as much memory of a device after the second round as after the first', () => {
      for (const backend of ['webgl', 'webgpu']) {
        const [first, second] = rounds.map((round) => round[backend].numBytesInGPU);
        expect([backend, typeof first]).toEqual([backend, 'number']);
        expect([backend, second]).toEqual([backend, first]);
      }
    });
  });
}
