import { backends, extent, useBackend } from './backends.js';
import { casesOf } from './cases.js';
import { checkCase } from './check_case.js';
import type { Operator } from './values.js';

/** Output and every gradient of every case of one operator, on every backend, against the float64 reference. */
export function operatorSuite(operator: Operator): void {
  describe.each(casesOf(operator, extent))(`${operator}: %s`, (_, build) => {
    test.each(backends)('%s', async (backend) => {
      await useBackend(backend);
      expect(await checkCase(build(), backend)).toEqual([]);
    });
  });
}
