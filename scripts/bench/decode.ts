import * as tf from '@tensorflow/tfjs-core';

import { runKernel } from '../../src/gradients.js';
import { type ArrayError, countBad, errorsOf } from './accuracy.js';
import type { BenchCase } from './cases.js';
import { callTensors } from './data.js';
import type { DecodeReport } from './decode_report.js';
import type { BenchDevice } from './device.js';
import { type Body, timeInTurn, timeWall, type Timing, timingOf, warmUp } from './measure.js';
import { operatorNames, type OperatorName, optionsOf, specOf } from './operators.js';

/** Tokens in the cache, the new one included, where no others are asked for. */
export const DECODE_LENGTHS = { gpu: [1024, 4096, 16384, 32768], processor: [256, 1024, 4096] } as const;

export interface DecodeSettings {
  readonly heads: number;
  readonly dim: number;
  readonly ridge: number;
  readonly tolerance: number;
  readonly lengths: readonly number[];
  /** Only operators whose name and length it matches. */
  readonly only?: RegExp;
  /** Seconds after which no row is begun. */
  readonly limit: number;
}

/** One step of one operator with one new token a head. */
export interface DecodeRow {
  readonly name: string;
  readonly operator: OperatorName;
  readonly heads: number;
  readonly dim: number;
  /** Tokens that the row sees. */
  readonly length: number;
  readonly ridge: number | null;
  readonly tolerance: number | null;
  readonly error: ArrayError;
  readonly kernel: Timing | null;
  readonly passes: Readonly<Record<string, number>>;
  readonly wall: Timing;
  /** Beside the cache, the inputs and the result; null where nothing counts it. */
  readonly extraBytes: number | null;
  /** What tfjs holds more after all steps than before the first: nothing, if memory is flat. */
  readonly grownBytes: number;
  /** Keys and values, or the sums, that the step reads. */
  readonly cacheBytes: number;
  readonly copy: Timing | null;
  readonly problems: readonly string[];
}

/** Whether an operator's cache is a state of constant size. */
const isConstant = (operator: OperatorName): boolean => operator === 'linearAttention' || operator === 'mesaAttention';

/** A cache that holds the tokens before the last one; the sums of `linearAttention` and `mesaAttention` by tfjs' own operators. */
function cacheOf(operator: OperatorName, key: tf.Tensor3D, value: tf.Tensor3D): tf.NamedTensorMap {
  if (!isConstant(operator)) return { cachedKey: tf.clone(key), cachedValue: tf.clone(value) };
  const [heads, length, dim] = key.shape;
  return tf.tidy((): tf.NamedTensorMap => {
    const before = tf.slice(key, 0, [heads, length - 1, dim]);
    const values = tf.slice(value, 0, [heads, length - 1, dim]);
    const count = tf.fill([heads], length - 1);
    if (operator === 'mesaAttention') {
      return {
        keyKeySum: tf.matMul(before, before, true),
        keyValueSum: tf.matMul(before, values, true),
        count,
      };
    }
    const features = tf.add(tf.elu(before), 1);
    return { keySum: tf.sum(features, 1), keyValueSum: tf.matMul(features, values, true), count };
  });
}

/** Calls `body` with a product of matrices of tfjs' own, which keeps a GPU busy for about a millisecond. */
async function busily<T>(body: (work: Body) => Promise<T>): Promise<T> {
  const matrix = tf.randomNormal([2048, 2048]);
  try {
    return await body(() => tf.matMul(matrix, matrix));
  } finally {
    matrix.dispose();
  }
}

const bytesOf = (tensors: tf.NamedTensorMap): number =>
  Object.values(tensors).reduce((sum, { size }) => sum + 4 * size, 0);

async function measureStep(one: BenchCase, device: BenchDevice, copies: Map<number, Timing>): Promise<DecodeRow> {
  const { operator, heads, keys: length, dim } = one;
  const { query, probe, key, value } = callTensors(one, ['query', 'probe', 'key', 'value']) as Record<
    string,
    tf.Tensor3D
  >;
  const cache = cacheOf(operator, key, value);
  const newest = (x: tf.Tensor3D): tf.Tensor3D => tf.slice(x, [0, length - 1, 0], [heads, 1, dim]);
  const own = { query, key: newest(key), value: newest(value), ...(operator === 'parallaxAttention' && { probe }) };
  await own.value.data();
  tf.dispose([key, value]);
  const spec = specOf(operator);
  const attrs = {
    ...spec.attrs(optionsOf(one), { batch: heads, heads, Tq: 1, Tk: 1, D: dim, Dv: dim }),
    length: length - 1,
    total: length - 1,
    window: 0,
  };
  const body: Body = () => runKernel(`${spec.kernelName}Step`, { ...own, ...cache }, attrs)[0];
  try {
    device.peakScratch();
    const first = tf.tidy(body) as tf.Tensor;
    const extraBytes = device.peakScratch();
    const out = (await first.data()) as Float32Array;
    first.dispose();
    const bad = countBad(out);
    const [error] = errorsOf(one, { out });
    const before = tf.memory().numBytes;
    let kernel: Timing | null = null;
    let passes: DecodeRow['passes'] = {};
    let wall: Timing;
    if (device.isQueued) {
      // A step is too short for the device to keep its clocks up by itself: tfjs works on something else between steps.
      const times = await busily(async (work) => {
        const both = (): tf.Tensor[] => [work(), body()].flat();
        const perCall = await warmUp(both, 250);
        return device.kernelTimes?.(both, 50, perCall);
      });
      if (times) {
        kernel = timingOf(times.totals);
        passes = times.passes;
      }
      const perCall = await warmUp(body, 100);
      wall = await timeWall(body, Math.max(perCall, 0.2));
    } else {
      [wall] = await timeInTurn([body], 500);
    }
    const cacheBytes = bytesOf(cache);
    if (device.copyTime && !isConstant(operator) && !copies.has(cacheBytes)) {
      copies.set(cacheBytes, await device.copyTime(cacheBytes));
    }
    return {
      name: decodeName(one),
      operator,
      heads,
      dim,
      length,
      ridge: one.ridge ?? null,
      tolerance: one.tolerance ?? null,
      error,
      kernel,
      passes,
      wall,
      extraBytes,
      grownBytes: tf.memory().numBytes - before,
      cacheBytes,
      copy: copies.get(cacheBytes) ?? null,
      problems: [...(bad > 0 ? [`${bad} of ${out.length} numbers are NaN or infinite`] : []), ...device.takeErrors()],
    };
  } finally {
    tf.dispose([own, probe, cache]);
  }
}

const decodeName = ({ operator, heads, keys, dim, ridge }: BenchCase): string =>
  [operator, `${heads}x${keys}x${dim}`, ...(ridge === undefined ? [] : [`ridge ${ridge}`])].join(' ');

/** Measures one step of every operator at every length of its cache. */
export async function runDecode(device: BenchDevice, report: DecodeReport, settings: DecodeSettings): Promise<void> {
  const { heads, dim, ridge, tolerance, lengths, only, limit } = settings;
  const start = Date.now();
  const copies = new Map<number, Timing>();
  await device.prepare({ limits: 'device' });
  report.printSummary();
  for (const keys of lengths) {
    for (const operator of operatorNames) {
      const isSolving = operator === 'localLinearAttention' || operator === 'mesaAttention';
      const one: BenchCase = {
        operator,
        direction: 'forward',
        causal: true,
        limits: 'device',
        heads,
        queries: 1,
        keys,
        dim,
        ...(isSolving && { ridge }),
        ...(operator === 'localLinearAttention' && { tolerance }),
      };
      const name = decodeName(one);
      if (only && !only.test(name)) continue;
      if (Date.now() - start > 1000 * limit) {
        report.fail(name, `not begun within ${limit} s`);
        continue;
      }
      try {
        report.add(await measureStep(one, device, copies));
      } catch (error) {
        report.fail(name, [error instanceof Error ? error.message : String(error), ...device.takeErrors()].join('; '));
      }
    }
  }
}
