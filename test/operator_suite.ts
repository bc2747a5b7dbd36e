import * as tf from '@tensorflow/tfjs-core';
import { backends, useBackend } from './backends.js';
import { judge, misses } from './bars.js';
import { casesOf } from './cases.js';
import { outShape } from './judge.js';
import { knownMiss } from './known_misses.js';
import { runCall } from './run_call.js';
import type { Call, Operator } from './values.js';

/** The data of a call and everything that its float64 results depend on. */
function judgementKey({ options }: Call, name: string): string {
  return JSON.stringify([name.replace(/, solver \w+/, ''), { ...options, solver: undefined }]);
}

/** Output and every gradient of every case of one operator, on every backend, against the float64 reference. */
export function operatorSuite(operator: Operator): void {
  // The solvers of one combination share their float64 results, which take longer than the kernels.
  let last: { key: string; judged: ReturnType<typeof judge> } | undefined;

  describe.each(casesOf(operator))(`${operator}: %s`, (name, build) => {
    test.each(backends)('%s', async (backend) => {
      await useBackend(backend);
      const call = build();
      const key = judgementKey(call, name) + String(call.options.solver === 'conjugateGradient');
      if (last?.key !== key) last = { key, judged: judge(call) };
      const { judged } = last;
      const before = tf.memory();
      const result = await runCall(call, judged.dout);
      const { numTensors, numDataBuffers } = tf.memory();
      expect(result.shape).toEqual(outShape(call));
      expect(misses(call, judged, result, knownMiss(operator, name, backend))).toEqual([]);
      expect({ numTensors, numDataBuffers }).toEqual({
        numTensors: before.numTensors,
        numDataBuffers: before.numDataBuffers,
      });
    });
  });
}
