/** Stands for the package `webgpu` in tests; see `environment.js`. */
import type * as webgpu from 'webgpu';

declare global {
  // Only a `var` becomes a property of the global object.
  var dawn: typeof webgpu;
}

export const { create, globals } = globalThis.dawn;
