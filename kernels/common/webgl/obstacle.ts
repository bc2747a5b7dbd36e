import type { MathBackendWebGL } from '@tensorflow/tfjs-backend-webgl';
import { env } from '@tensorflow/tfjs-core';

import { WebGlDevice } from './device.js';

/** Backends that were asked already. */
const known = new WeakMap<object, { readonly obstacle: string | undefined }>();

/** What keeps the kernels from running on a backend `webgl`: it has no WebGL 2, or no float32 textures to draw to. */
export function obstacleOf(backend: object): string | undefined {
  let answer = known.get(backend);
  if (answer === undefined) known.set(backend, (answer = { obstacle: findObstacle(backend as MathBackendWebGL) }));
  return answer.obstacle;
}

function findObstacle(backend: MathBackendWebGL): string | undefined {
  if (env().getNumber('WEBGL_VERSION') < 2) return 'this device has no WebGL 2';
  if (!env().getBool('WEBGL_RENDER_FLOAT32_ENABLED')) {
    return 'this device draws to float16 textures only, too coarse for what the kernels keep in them';
  }
  // A lost context is an error of the call, and no reason to give the kernels up.
  if (backend.getGPGPUContext().gl.isContextLost()) return undefined;
  const device = WebGlDevice.of(backend);
  const image = device.acquire(1, 1);
  device.bindTarget(image, true);
  const { isComplete } = device;
  device.release(image);
  return isComplete ? undefined : 'this device does not draw to four float32 textures at a time';
}
