import * as tf from '@tensorflow/tfjs-core';
import { judge, type Judged, type LeastBars, measure, type Measured, misses } from './bars.js';
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

/**
 * The bars of `precision: 'fast'` that README.md names ("Precision"): outputs and `dv` 1e-3, other gradients 2e-3 (by CUDA 5e-3),
 * the ridge's 1e-2. Where float32 itself may be further off, its bars hold.
 */
function fastBars(backend: string): LeastBars {
  return (name) => {
    if (name === 'out' || name === 'value') return 1e-3;
    if (name === 'ridge') return 1e-2;
    return backend === 'tensorflow' ? 5e-3 : 2e-3;
  };
}

/** Whether TensorFlow computes on a GPU; a page has no TensorFlow. */
export function isCuda(): boolean {
  const backend: object = tf.backend();
  return 'isUsingGpuDevice' in backend && backend.isUsingGpuDevice === true;
}

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
  const factor = knownMiss(testCase.operator, testCase.name, isCuda() ? 'cuda' : backend);
  const isFast = testCase.options.precision === 'fast';
  const wrong = misses(testCase, judged, result, factor, isFast ? fastBars(backend) : undefined);
  if (result.shape.join() !== outShape(testCase).join()) wrong.push(`out has shape [${result.shape.join()}]`);
  for (const count of ['numTensors', 'numDataBuffers'] as const) {
    if (after[count] !== before[count]) wrong.push(`${count} went from ${before[count]} to ${after[count]}`);
  }
  return wrong;
}
