/** The case table in a browser: what `operator_suite.ts` is in Node, for jasmine. */
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import '../../src/backends/webgpu.js';
import { casesOf, operators, type Extent } from '../cases.js';
import { checkCase } from '../check_case.js';

/** The backends that a run must cover. One that does not work fails its tests; none is skipped. */
const backends = ['webgpu'] as const;

/** See `backends.ts` on why a run does not take all of the table. */
const extent: Extent = 'optionPairs';

/** Makes `backend` the current one; throws where it is not available. Its adapter goes to the report. */
async function useBackend(backend: string): Promise<void> {
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} is not available`);
  await tf.ready();
  if (tf.getBackend() !== backend) throw new Error(`asked for backend ${backend}, got ${tf.getBackend()}`);
  const { device } = tf.backend() as tf.KernelBackend & { readonly device: GPUDevice };
  const { vendor, architecture, description } = device.adapterInfo;
  console.log(`backend ${backend}: ${[vendor, architecture, description].join(' ')}, ${navigator.userAgent}`);
}

// Only what jasmine and jest have in common is used here: the types are jest's.
for (const backend of backends) {
  describe(`${backend} in a browser:`, () => {
    beforeAll(() => useBackend(backend));

    for (const operator of operators) {
      for (const [name, build] of casesOf(operator, extent)) {
        it(`${operator}: ${name}`, async () => {
          expect(await checkCase(build(), backend)).toEqual([]);
        });
      }
    }
  });
}
