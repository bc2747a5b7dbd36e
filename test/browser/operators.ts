/** The case table in a browser: what `operator_suite.ts` is in Node, for jasmine. */
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs-core';
import '../../src/backends/webgl.js';
import '../../src/backends/webgpu.js';
import { cacheSuite } from '../cache_suite.js';
import { casesOf, operators, type Extent } from '../cases.js';
import { checkCase } from '../check_case.js';
import { ownDeviceSuite } from './own_device.js';
import { switchingSuite } from './switching.js';

/** Put in by the bundler. */
const asked = process.env.TFJS_LLA_TEST;
const isFullRun = asked === 'full' || asked === 'all';

/**
 * The backends that a run must cover, and how much of the table (see `backends.ts` on why not all of it). One that does not
 * work fails its tests; none is skipped.
 */
const extents: Readonly<Record<'webgpu' | 'webgl', Extent>> = {
  // The shaders are those that the tests in Node run.
  webgpu: isFullRun ? 'optionPairs' : 'sample',
  webgl: asked === 'all' ? 'all' : isFullRun ? 'pairs' : 'optionPairs',
};

type Backend = keyof typeof extents;

/** What a backend computes with. */
const adapters: Readonly<Record<Backend, () => string>> = {
  webgpu() {
    const { device } = tf.backend() as tf.KernelBackend & { readonly device: GPUDevice };
    const { vendor, architecture, description } = device.adapterInfo;
    return [vendor, architecture, description].join(' ');
  },
  webgl() {
    type WebGl = tf.KernelBackend & { getGPGPUContext(): { readonly gl: WebGLRenderingContext } };
    const { gl } = (tf.backend() as WebGl).getGPGPUContext();
    const info = gl.getExtension('WEBGL_debug_renderer_info');
    return String(gl.getParameter(info?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER));
  },
};

/** Makes `backend` the current one; throws where it is not available. Its adapter goes to the report. */
async function useBackend(backend: Backend): Promise<void> {
  if (!(await tf.setBackend(backend))) throw new Error(`backend ${backend} is not available`);
  await tf.ready();
  if (tf.getBackend() !== backend) throw new Error(`asked for backend ${backend}, got ${tf.getBackend()}`);
  console.log(`backend ${backend}: ${adapters[backend]()}, ${navigator.userAgent}`);
}

// Only what jasmine and jest have in common is used here: the types are jest's.
for (const backend of Object.keys(extents) as Backend[]) {
  describe(`${backend} in a browser:`, () => {
    beforeAll(() => useBackend(backend));

    for (const operator of operators) {
      for (const [name, build] of casesOf(operator, extents[backend])) {
        it(`${operator}: ${name}`, async () => {
          expect(await checkCase(build(), backend)).toEqual([]);
        });
      }
    }
  });

  if (isFullRun || backend === 'webgl') cacheSuite(backend, () => useBackend(backend), isFullRun ? 'all' : 'part');
}

// By now all that it compiles on the devices is there.
switchingSuite();

// Last: it replaces the device.
ownDeviceSuite();
