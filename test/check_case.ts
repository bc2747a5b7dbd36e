import * as tf from '@tensorflow/tfjs-core';
import { judge, measure, type Measured, misses, type Judged } from './bars.js';
import type { Case } from './cases.js';
import { outShape } from './judge.js';
import { knownMiss } from './known_misses.js';
import { runCall } from './run_call.js';

/** The data of a call and everything that its float64 results depend on. */
function judgementKey({ operator, name, options }: Case): string {
  const isIterative = options.solver === 'conjugateGradient';
  return JSON.stringify([
    operator,
    name.replace(/, solver \w+/, ''),
    { ...options, solver: undefined, precision: undefined },
    isIterative,
  ]);
}

/** How many times the bars of `'high'` hold for `precision: 'fast'`: its outputs are right to 1e-3, gradients to 5e-3. */
const FAST_FACTOR = 10;

// The solvers of one combination share their float64 results, which take longer than the kernels.
let last: { key: string; judged: Judged } | undefined;

/**
 * Runs a case of the table, gradients included, on the current backend and compares it with the float64 reference; what
 * is wrong, an empty list where nothing is. For any test framework. `report` gets the errors of all arrays, right or wrong.
 */
export async function checkCase(
  testCase: Case,
  backend: string,
  report?: (measured: Readonly<Record<string, Measured>>) => void,
): Promise<string[]> {
  const key = judgementKey(testCase);
  if (last?.key !== key) last = { key, judged: judge(testCase) };
  const { judged } = last;
  const before = tf.memory();
  const result = await runCall(testCase, judged.dout);
  const after = tf.memory();
  report?.(measure(testCase, judged, result));
  const factor = knownMiss(testCase.operator, testCase.name, backend);
  const isFast = testCase.options.precision === 'fast';
  const wrong = misses(testCase, judged, result, isFast ? FAST_FACTOR * factor : factor);
  if (result.shape.join() !== outShape(testCase).join()) wrong.push(`out has shape [${result.shape.join()}]`);
  for (const count of ['numTensors', 'numDataBuffers'] as const) {
    if (after[count] !== before[count]) wrong.push(`${count} went from ${before[count]} to ${after[count]}`);
  }
  return wrong;
}
